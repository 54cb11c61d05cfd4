// Pictures of every screen with something in it, on a desk and on a phone, light and dark: for people to look at.
import { Server, Window } from './harness.mjs';

const dayMs = 24 * 3600 * 1000;
const hourMs = 3600 * 1000;
const code = '```js\nconst general = client.newSubscription(\'general\');\ngeneral.on(\'publication\', (p) => show(p.data));\ngeneral.subscribe();\n```';

// [who, what, how long ago]
const general = [
  ['Maya', 'Good morning! The new build is on the staging server.', 2 * dayMs],
  ['Jonas', 'Great. I will run the load test on it this afternoon.', 2 * dayMs - 4 * 60_000],
  ['Jonas', 'Numbers tomorrow.', 2 * dayMs - 5 * 60_000],
  ['Maya', 'No hurry 🙂', 2 * dayMs - 30 * 60_000],
  ['Priya', 'Here is the report: https://example.org/reports/2026/load-test?run=42 (see the second table).', dayMs],
  ['Priya', 'In short: 50,000 connections, no message lost, and the slowest delivery took 38 ms. The one thing that stands out is the time after a restart: all clients come back within two seconds, and the first of them wait for the history pages of the others. I think a little jitter would do, but I would like somebody else to look at it before we change anything.', dayMs - 2 * 60_000],
  ['Jonas', '🎉', dayMs - 3 * 60_000],
  ['Tom', 'How do I listen to a channel from a script?', 3 * hourMs],
  ['Maya', `Like this:\n${code}\nThen \`client.connect()\` and you are there.`, 3 * hourMs - 60_000],
  ['Tom', 'Oh, that is short. Thanks!', 3 * hourMs - 2 * 60_000],
];

const others = [
  ['Priya', 'design', 'The second draft of the icons is in the folder.', 50 * 60_000],
  ['Tom', 'design', 'I like the round ones', 48 * 60_000],
  ['Maya', 'release-notes', '0.2: direct messages, unread counts, dark colours', 5 * hourMs],
  ['Jonas', 'random', 'Lunch at the new place?', 2 * hourMs],
  ['Priya', 'dm:#Ann,Priya', 'Do you have a minute for the jitter question?', 12 * 60_000],
  ['Jonas', 'dm:#Ann,Jonas', 'I sent you the raw numbers', 25 * 60_000],
];

// Moves messages back in time on their way into the window.
async function agePage(w) {
  await w.context.routeWebSocket(/connection\/websocket/, (ws) => {
    const server = ws.connectToServer();
    server.onMessage((frame) => ws.send(frame.split('\n').map((line) => {
      const value = JSON.parse(line);
      const walk = (one) => {
        if (one === null || typeof one !== 'object') return;
        if (one.tags?.time && one.data?.ago) one.tags.time = String(Number(one.tags.time) - one.data.ago);
        for (const child of Object.values(one)) walk(child);
      };
      walk(value);
      return JSON.stringify(value);
    }).join('\n')));
  });
}

async function fill(server, browser) {
  const w = await Window.signedIn(browser, server.url, 'Setup');
  await w.robot(general.map(([user, text, ago]) => ({ user, channel: 'general', text: { text, ago } })));
  await w.context.close();
  const ann = await Window.open(browser, server.url);
  await ann.robot(['general', 'design', 'release-notes', 'random', 'dm:#Ann,Priya', 'dm:#Ann,Jonas', 'dm:#Ann,Tom'].map((channel) => ({ user: 'Ann', channel })));
  await ann.robot([{ user: 'Ann', channel: 'dm:#Ann,Tom', text: { text: 'Welcome, Tom! Ask me anything.', ago: 4 * hourMs } }]);
  await ann.robot([...others.map(([user, channel, text, ago]) => ({ user, channel, text: { text, ago } })), { user: 'Maya', channel: 'general' }]);
  return ann;   // keeps the robots online
}

async function person(browser, server, options) {
  const w = await Window.open(browser, `${server.url}health`, options);
  await agePage(w);
  await w.page.goto(server.url);
  await w.signIn('Ann');
  return w;
}

export async function takeScreenshots(browser, folder) {
  for (const colorScheme of ['light', 'dark']) {
    for (const [size, options] of Object.entries({ desk: { width: 1280, height: 800 }, phone: { width: 390, height: 844, isPhone: true } })) {
      const server = await Server.start();
      const helper = await fill(server, browser);
      let n = 0;
      const shot = (w, name) => w.page.screenshot({ path: `${folder}/${size}-${colorScheme}-${String(++n).padStart(2, '0')}-${name}.png` });
      const first = await Window.open(browser, server.url, { ...options, colorScheme });
      await shot(first, 'sign-in');
      await first.page.getByLabel('Your name').fill('ann<3');
      await first.page.getByRole('button', { name: 'Start chatting' }).click();
      await first.page.getByRole('alert').filter({ hasText: 'letters' }).waitFor();
      await shot(first, 'sign-in-error');
      await first.close();

      const w = await person(browser, server, { ...options, colorScheme });
      if (size === 'phone') {
        await w.row('dm:#Ann,Tom').waitFor();
        await w.until(() => document.querySelectorAll('.badge:not([hidden])').length >= 3);
        await shot(w, 'list');
        await w.row('general').tap();
      }
      await w.see('that is short');
      await w.say('I can take the jitter question, Priya. Let us look at it together after lunch.');
      await w.sent('after lunch');
      await w.say('One more thing: the docs page about reconnecting is ready for review.');
      await w.sent('ready for review');
      await helper.robot([{ user: 'Maya', channel: 'general' }, { user: 'Tom', channel: 'general' }]);
      await w.page.getByText('are typing').waitFor();
      await shot(w, 'chat');
      await w.page.locator('.log').evaluate((log) => { log.scrollTop = 0; });
      await shot(w, 'top');
      await w.page.locator('.jump').click();
      if (size === 'desk') {
        await w.page.getByRole('button', { name: /people here now/ }).click();
        await w.messages('after lunch').hover();
        await shot(w, 'people-and-actions');
        await w.page.getByRole('button', { name: /people here now/ }).click();
        await w.messages('after lunch').hover();
      } else {
        await w.messages('after lunch').tap();
        await shot(w, 'actions');
      }
      await w.messages('after lunch').getByRole('button', { name: 'Edit' }).click();
      await shot(w, 'editing');
      await w.input.press('Escape');
      if (size === 'phone') await w.page.getByRole('button', { name: 'Back to the list' }).tap();
      await w.page.getByRole('button', { name: 'New direct message' }).click();
      await shot(w, 'dialog');
      await w.page.keyboard.press('Escape');
      await w.row('dm:#Ann,Priya').click();
      await w.see('jitter question');
      await shot(w, 'direct');
      if (size === 'phone') await w.page.getByRole('button', { name: 'Back to the list' }).tap();
      await w.row('general').click();
      await w.loaded();
      server.relay.set('pages only');
      await w.offline();
      await w.say('Is anybody there?');
      await w.see('Is anybody there?');
      await shot(w, 'offline');
      server.relay.set('open');
      await w.online();
      await w.page.goto(`${server.url}#/${encodeURIComponent('secret:x')}`);
      await w.page.reload();
      await w.page.getByRole('heading', { name: 'This channel cannot be opened' }).waitFor();
      await shot(w, 'not-allowed');
      await w.context.close();
      await helper.context.close();
      await server.stop();
    }
  }
}
