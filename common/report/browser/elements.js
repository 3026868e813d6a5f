// What all parts use: the data of the page, elements, numbers as people read them, and what the reader has chosen.

const data = JSON.parse(document.getElementById('data').textContent);
const NAMESPACE = 'http://www.w3.org/2000/svg';

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, '');
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  // Text is only ever added as text: nothing of a model's or a file's becomes an element.
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const element = (tag, attributes, ...children) => filled(document.createElement(tag), attributes, children);
const drawn = (tag, attributes, ...children) => filled(document.createElementNS(NAMESPACE, tag), attributes, children);

function button(text, pressed, onclick, attributes = {}) {
  return element('button', { type: 'button', 'aria-pressed': String(pressed), onclick, ...attributes }, text);
}

function number(value, percent) {
  if (percent) {
    const shown = 100 * value;
    return `${Math.abs(shown) >= 100 ? shown.toFixed(0) : Number(shown.toPrecision(3))} %`;
  }
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size < 0.001 || size >= 1e7) return value.toExponential(2).replace(/\.?0+e/, 'e').replace('e+', 'e');
  return size >= 1000 ? Math.round(value).toLocaleString('en-US') : String(Number(value.toPrecision(4)));
}

const words = (name) => name.replaceAll('_', ' ');

// Kept for as long as the tab is open: a page that loads itself anew shows what the reader was looking at.
const place = `zero-recipes ${location.pathname}`;
let chosen = {};
try {
  chosen = JSON.parse(sessionStorage.getItem(place)) || {};
} catch {
  chosen = {};
}

function choose(name, value) {
  chosen[name] = value;
  try {
    sessionStorage.setItem(place, JSON.stringify(chosen));
  } catch {
    // A browser that keeps nothing for files still shows the page.
  }
}
