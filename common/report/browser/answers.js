// One answer: what was said, with what is wrong in it marked, or its calls of tools beside the right ones.

const said = (text) => (!text ? '(nothing)' : text.trim() ? text : '(nothing but white space)');

function marked(parts) {
  const shown = parts.map(([kind, text]) => {
    if (kind === 'equal') return text;
    return element(kind === 'wrong' ? 'mark' : 'del', {}, text.replaceAll('\n', '↵\n'));
  });
  return shown.length ? shown : ['(nothing)'];
}

const written = (value) => (value === undefined ? '–' : typeof value === 'string' ? value : JSON.stringify(value));

function sorted(value) {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]));
}

// A table of the arguments of each call: what was right beside what was said.
function callTables(gold, calls) {
  const count = Math.max(gold.length, calls.length);
  return Array.from({ length: count }, (_, index) => {
    const [right, said] = [gold[index], calls[index]];
    const names = [...new Set([...Object.keys(right?.arguments || {}), ...Object.keys(said?.arguments || {})])];
    const row = (label, wanted, found) => {
      const same = JSON.stringify(sorted(wanted)) === JSON.stringify(sorted(found));
      const cell = same ? written(found) : element('mark', {}, written(found));
      return element('tr', {}, element('th', { scope: 'row' }, label), element('td', { dir: 'auto' }, written(wanted)), element('td', { dir: 'auto' }, cell));
    };
    return element(
      'table',
      { class: 'calls' },
      element('thead', {}, element('tr', {}, ['', 'right', 'called'].map((text) => element('th', { scope: 'col' }, text)))),
      element('tbody', {}, row('function', right?.name, said?.name), names.map((name) => row(name, right?.arguments?.[name], said?.arguments?.[name]))),
    );
  });
}

function verdict(answer) {
  return element('span', { class: `mark ${answer.correct ? 'right' : 'wrong'}` }, answer.correct ? '✓ right' : '✗ wrong');
}

function answerBox(answer, title, problem) {
  const box = element('div', { class: 'answer' });
  if (!answer) {
    box.append(element('p', { class: 'when' }, title), element('p', { class: 'note' }, 'Not kept.'));
    return box;
  }
  const score = answer.score !== undefined && answer.score > 0 && answer.score < 1 ? ` ${number(answer.score, true)}` : '';
  box.append(element('p', { class: 'when' }, title, element('span', {}, verdict(answer), score)));
  if (problem.gold_calls && answer.calls) box.append(...callTables(problem.gold_calls, answer.calls));
  const mistake = answer.mistake ? element('p', { class: 'note' }, `Mistake: ${words(String(answer.mistake))}`) : null;
  const text = answer.marked ? marked(answer.marked) : [said(answer.completion)];
  if (mistake) box.append(mistake);
  box.append(element('div', { class: 'completion', dir: 'auto', tabindex: 0 }, text));
  return box;
}

function picture(problem) {
  const image = element('img', { src: problem.image, alt: problem.answer || 'the picture', title: 'Click to enlarge' });
  return button(image, false, () => {
    const dialog = document.getElementById('large');
    const large = dialog.querySelector('img');
    large.src = problem.image;
    large.alt = image.alt;
    dialog.showModal();
  }, { class: 'picture', 'aria-pressed': null });
}

document.getElementById('large').addEventListener('click', (event) => {
  if (event.target.tagName !== 'BUTTON') event.currentTarget.close();
});
