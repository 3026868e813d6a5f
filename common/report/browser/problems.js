// All kept problems: filtered and searched, one of them shown through the evaluations (or through the runs compared).

{
  const section = document.getElementById('problems');
  const { columns, problems } = data.problems;
  const last = columns.length - 1;
  const isRight = (problem, column) => Boolean(problem.answers[column]?.correct);
  const isKept = (problem, column) => Boolean(problem.answers[column]);
  const longest = (problem) => Math.max(...problem.answers.map((answer) => answer?.completion.length || 0));
  const text = (problem) => [problem.question, problem.answer, ...problem.answers.map((answer) => answer?.completion || '')].join('\n').toLowerCase();
  const texts = new Map();
  const kept = (problem) => isKept(problem, 0) && isKept(problem, last);
  const filters = {
    all: () => true,
    wrong: (problem) => isKept(problem, last) && !isRight(problem, last),
    ...(last > 0 && {
      mended: (problem) => kept(problem) && !isRight(problem, 0) && isRight(problem, last),
      spoiled: (problem) => kept(problem) && isRight(problem, 0) && !isRight(problem, last),
    }),
  };
  const labels = { all: 'all', wrong: 'wrong', mended: 'mended', spoiled: 'spoiled', ...data.filters };
  const settings = { filter: 'all', long: false, search: '', problem: 0, column: null, ...chosen.problems };
  if (!(settings.filter in filters)) settings.filter = 'all';

  function set(change) {
    choose('problems', Object.assign(settings, change));
    draw();
  }

  const search = element('input', { type: 'search', placeholder: 'Search', 'aria-label': 'Search in questions and answers', value: settings.search, oninput: () => set({ search: search.value }) });
  const tools = element('div', { class: 'tools' });
  const list = element('ul', { class: 'list' });
  const detail = element('div', { class: 'detail sample' });

  function matching() {
    const wanted = settings.search.toLowerCase();
    const found = problems.map((problem, index) => index).filter((index) => {
      if (!texts.has(index) && wanted) texts.set(index, text(problems[index]));
      return filters[settings.filter](problems[index]) && (!wanted || texts.get(index).includes(wanted));
    });
    return settings.long ? found.sort((a, b) => longest(problems[b]) - longest(problems[a])) : found;
  }

  function draw() {
    const found = matching();
    const buttons = Object.entries(filters).map(([name, filter]) => button(`${labels[name]} ${problems.filter(filter).length}`, settings.filter === name, () => set({ filter: name })));
    tools.replaceChildren(...buttons, button('longest first', settings.long, () => set({ long: !settings.long })));
    const at = list.scrollTop;
    list.replaceChildren(...found.map((index) => {
      const problem = problems[index];
      const dots = problem.answers.map((answer) => element('i', { class: !answer ? 'none' : answer.correct ? 'right' : 'wrong' }, !answer ? '·' : answer.correct ? '✓' : '✗'));
      const about = problem.question.length > 160 ? `${problem.question.slice(0, 160)}…` : problem.question;
      // What all problems ask alike (a picture to be read) tells nothing: then the answer does.
      const shown = alike ? problem.answer : about;
      return element('li', {}, button([element('span', { class: 'dots' }, dots), element('bdi', {}, shown)], index === settings.problem, () => set({ problem: index })));
    }));
    list.scrollTop = at;
    if (!found.length) list.replaceChildren(element('li', { class: 'note' }, 'None.'));
    const current = found.includes(settings.problem) ? settings.problem : found[0];
    if (current === undefined) detail.replaceChildren(element('p', { class: 'note' }, 'No problem fits.'));
    else show(problems[current], found, current);
    for (const [index, item] of [...list.querySelectorAll('button')].entries()) item.setAttribute('aria-pressed', String(found[index] === current));
  }

  function show(problem, found, current) {
    // Who has chosen no other answer sees the last one, also when a newer one has come.
    const index = columns.includes(settings.column) ? columns.indexOf(settings.column) : last;
    const look = (at) => set({ column: at === last ? null : columns[at] });
    const next = (by) => set({ problem: found[Math.min(found.length - 1, Math.max(0, found.indexOf(current) + by))] });
    const move = (by) => look(Math.min(last, Math.max(0, index + by)));
    const step = element('span', { class: 'stepper' });
    if (last > 0) {
      step.append(
        button('‹', false, () => move(-1), { 'aria-label': 'Earlier answer', disabled: index === 0, 'aria-pressed': null }),
        ...columns.map((label, column) => {
          const answer = problem.answers[column];
          const state = !answer ? 'none' : answer.correct ? 'right' : 'wrong';
          return button(!answer ? '·' : answer.correct ? '✓' : '✗', column === index, () => look(column), { class: `dot ${state}`, title: label });
        }),
        button('›', false, () => move(1), { 'aria-label': 'Later answer', disabled: index === last, 'aria-pressed': null }),
      );
    }
    const answers = element('div', { class: 'answers' });
    if (last > 0) answers.append(answerBox(problem.answers[0], columns[0], problem));
    if (last === 0 || index > 0) answers.append(answerBox(problem.answers[index], columns[index], problem));
    detail.replaceChildren(...[
      element('div', { class: 'between' },
        element('small', {}, `${found.indexOf(current) + 1} of ${found.length} · ${words(problem.split)}`),
        element('span', { class: 'tools' },
          button('previous', false, () => next(-1), { 'aria-pressed': null, disabled: found[0] === current }),
          button('next', false, () => next(1), { 'aria-pressed': null, disabled: found.at(-1) === current }))),
      problem.image ? picture(problem) : null,
      element('h3', { dir: 'auto' }, problem.question),
      element('p', { class: 'expected' }, element('small', {}, 'expected '), element('bdi', {}, problem.answer)),
      step.hasChildNodes() ? step : null,
      answers,
    ].filter(Boolean));
  }

  const alike = new Set(problems.map((problem) => problem.question)).size <= problems.length / 4;
  if (section && problems.length) {
    section.hidden = false;
    document.documentElement.classList.add('scripted');
    if (problems.some((problem) => problem.answers.some((answer) => answer?.marked))) {
      section.append(element('p', { class: 'note' }, 'What is wrong is ', element('mark', {}, 'underlined'), ', and what is missing is there ', element('del', {}, 'struck through'), '.'));
    }
    section.append(element('div', { class: 'between' }, tools, search), element('div', { class: 'browser' }, list, detail));
    draw();
  }
}
