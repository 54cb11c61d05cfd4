// Light, dark, or as the system has it. A plain script in the head, so that the first paint has the right colours.
(() => {
  const key = 'parley.theme';
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const read = () => { try { return localStorage.getItem(key) ?? 'auto'; } catch { return 'auto'; } };
  let choice = read();

  function show() {
    document.documentElement.dataset.theme = choice === 'auto' ? (dark.matches ? 'dark' : 'light') : choice;
  }

  globalThis.parleyTheme = {
    get choice() { return choice; },
    // auto -> light -> dark -> auto
    next() {
      choice = { auto: 'light', light: 'dark', dark: 'auto' }[choice] ?? 'auto';
      try { localStorage.setItem(key, choice); } catch { /* It holds until the page is closed. */ }
      show();
      return choice;
    },
  };
  dark.addEventListener('change', show);
  show();
})();
