// Builds elements. Text becomes text nodes and attributes are set one by one, so that nothing a user wrote can become markup.

// el('button', { class: 'x', type: 'button', onclick: f, 'aria-label': '…' }, 'text', child, null, …)
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === 'function') node.addEventListener(name.slice('on'.length), value);
    else if (name.startsWith('on') || name === 'style') throw new Error(`attribute ${name} is not allowed`);
    else node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

// Icons of 24 by 24, drawn by strokes.
const paths = {
  send: 'M5 12h14M13 6l6 6-6 6',
  plus: 'M12 5v14M5 12h14',
  back: 'M15 5l-7 7 7 7',
  down: 'M12 5v14M6 13l6 6 6-6',
  people: 'M9 11a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7zM2.5 20c.4-3.6 2.9-5.5 6.5-5.5s6.1 1.9 6.5 5.5M16 4.3a3.5 3.5 0 0 1 0 6.4M18.5 15c1.7.8 2.8 2.5 3 5',
  edit: 'M4 20l.9-4.2L16.2 4.5a1.8 1.8 0 0 1 2.5 0l.8.8a1.8 1.8 0 0 1 0 2.5L8.2 19.1zM14.5 6.5l3 3',
  trash: 'M5 7h14M10 7V4.5h4V7M7 7l.8 12.5h8.4L17 7M10.5 11v5M13.5 11v5',
  copy: 'M9 9h10v11H9zM15 9V4.5H5V15h4',
  clock: 'M12 20.5a8.5 8.5 0 1 0 0-17 8.5 8.5 0 0 0 0 17zM12 7.5V12l3 2',
  check: 'M5 12.5l4.5 4.5L19 7.5',
  alert: 'M12 8v5M12 16.5v.1M12 20.5a8.5 8.5 0 1 0 0-17 8.5 8.5 0 0 0 0 17z',
  leave: 'M12 20.5a8.5 8.5 0 1 0 0-17 8.5 8.5 0 0 0 0 17zM8 12h8',
  sun: 'M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4',
  moon: 'M19.5 14.5A8 8 0 0 1 9.5 4.5a8 8 0 1 0 10 10z',
  auto: 'M12 20.5a8.5 8.5 0 1 0 0-17 8.5 8.5 0 0 0 0 17zM12 3.5v17M12 7h5.5M12 12h8.5M12 17h5.5',
  out: 'M10 4H5v16h5M9 12h11M16.5 8.5L20 12l-3.5 3.5',
  close: 'M6 6l12 12M18 6L6 18',
  keys: 'M3 7h18v10H3zM7 11v.1M11 11v.1M15 11v.1M8.5 14h7',
  message: 'M4.5 5h15v11h-8l-4.5 3.5V16H4.5z',
  lock: 'M6 11h12v9H6zM8.5 11V8a3.5 3.5 0 0 1 7 0v3',
};

export function icon(name) {
  const ns = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(ns, 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS(ns, 'path');
  path.setAttribute('d', paths[name]);
  svg.append(path);
  return svg;
}

// A button that shows only an icon; its name is read out and shown on hover.
export function iconButton(name, label, onclick, props = {}) {
  return el('button', { type: 'button', class: 'icon-button', title: label, 'aria-label': label, onclick, ...props }, icon(name));
}

// Makes the children of `parent` these rows and touches only what differs. Each row: {id, sig: […], make()}.
// `known` belongs to the parent: id -> {node, sig}.
export function reconcile(parent, rows, known) {
  const wanted = new Set(rows.map((row) => row.id));
  for (const [id, one] of known) {
    if (wanted.has(id)) continue;
    one.node.remove();
    known.delete(id);
  }
  let at = parent.firstChild;
  for (const row of rows) {
    let one = known.get(row.id);
    if (one && !isSame(one.sig, row.sig)) {
      const node = row.make();
      const isFocused = one.node.contains(document.activeElement);
      if (at === one.node) at = node;
      one.node.replaceWith(node);
      one.node = node;
      one.sig = row.sig;
      if (isFocused) node.focus({ preventScroll: true });
    } else if (!one) {
      one = { node: row.make(), sig: row.sig };
      known.set(row.id, one);
    }
    if (at === one.node) at = at.nextSibling;
    else parent.insertBefore(one.node, at);
  }
}

function isSame(a, b) { return a.length === b.length && a.every((value, i) => value === b[i]); }
