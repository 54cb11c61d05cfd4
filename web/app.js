// Where the page starts: sign in, then the chat.
import { ChatPage } from './chat_page.js';
import { forgetMe, guestToken, rememberedName, takeTokenFromAddress } from './session.js';
import { problemView, signInView } from './signin_view.js';

const root = document.getElementById('root');
let page = null;

const reload = { text: 'Load the page again', run: () => location.reload() };

function show(node) { root.replaceChildren(node); }

function signIn(problem = '') {
  page?.stop();
  page = null;
  document.title = 'Parley';
  const view = signInView({
    name: rememberedName(), problem,
    enter: async (name) => {
      const { token, user } = await guestToken(name);
      start({ token, user, name });
    },
  });
  show(view.node);
  view.focus();
}

function start(credentials) {
  page = new ChatPage({
    refused: signIn,
    signOut: () => { forgetMe(); signIn(); },
  });
  show(page.node);
  page.start(credentials);
}

function boot() {
  if (!globalThis.Centrifuge) {
    show(problemView('Something is missing', 'The server was built without the JavaScript SDK. Build it again with a connection to npm: ./dev build.', reload));
    return;
  }
  const token = takeTokenFromAddress();
  const name = rememberedName();
  if (token) start({ token });
  else if (name) start({ name });
  else signIn();
}

boot();
