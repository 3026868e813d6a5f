// Curves: drawn as SVG, with values where the pointer is.

const WIDTH = 420;
const HEIGHT = 250;
const EDGE = { left: 54, right: 12, top: 12, bottom: 30 };
const MARKS = [
  (x, y) => `M${x - 4} ${y}a4 4 0 1 0 8 0a4 4 0 1 0-8 0`,
  (x, y) => `M${x - 3.5} ${y - 3.5}h7v7h-7z`,
  (x, y) => `M${x} ${y - 4.5}l4.5 8h-9z`,
  (x, y) => `M${x} ${y - 5}l5 5l-5 5l-5-5z`,
];

function smoothed(values) {
  const half = Math.floor(values.length / LONG);
  if (!half) return values;
  return values.map((_, index) => {
    const near = values.slice(Math.max(0, index - half), index + half + 1);
    return near.reduce((sum, value) => sum + value, 0) / near.length;
  });
}

function line(points, x, y) {
  return points.map(([step, value], index) => `${index ? 'L' : 'M'}${x(step).toFixed(1)} ${y(value).toFixed(1)}`).join('');
}

function chart(curve) {
  const name = `curve ${curve.title}`;
  const settings = { log: false, whole: false, hidden: [], ...chosen[name] };
  const figure = element('figure', { class: 'curve' });

  function set(change) {
    choose(name, Object.assign(settings, change));
    draw();
  }

  function draw() {
    const shown = curve.series.filter((series) => !settings.hidden.includes(series.label));
    const values = shown.flatMap((series) => series.points.map((point) => point[1]));
    const positive = values.length > 0 && values.every((value) => value > 0);
    const log = settings.log && positive;
    const { cut, ...ends } = range(curve, shown, settings.whole);
    let { bottom, top } = ends;
    if (log) [bottom, top] = [Math.min(...values) / 1.15, Math.max(...values) * 1.15];
    const scale = log ? Math.log : (value) => value;
    const x = (step) => EDGE.left + (step / Math.max(1, data.span)) * (WIDTH - EDGE.left - EDGE.right - 4) + 2;
    const height = HEIGHT - EDGE.top - EDGE.bottom;
    const y = (value) => EDGE.top + (1 - (scale(value) - scale(bottom)) / (scale(top) - scale(bottom))) * height;
    const within = (value) => Math.min(HEIGHT - EDGE.bottom, Math.max(EDGE.top, y(value)));

    const picture = drawn('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', tabindex: 0, 'aria-label': `${curve.title}, over training steps` });
    for (const value of log ? powers(bottom, top) : ticks(bottom, top, 5)) {
      picture.append(drawn('line', { class: 'grid', x1: EDGE.left, x2: WIDTH - EDGE.right, y1: y(value), y2: y(value) }));
      picture.append(drawn('text', { class: 'tick', x: EDGE.left - 6, y: y(value) + 4, 'text-anchor': 'end' }, number(value, curve.percent)));
    }
    for (const step of ticks(0, Math.max(1, data.span), 5).filter(Number.isInteger)) {
      picture.append(drawn('text', { class: 'tick', x: x(step), y: HEIGHT - 10, 'text-anchor': 'middle' }, number(step)));
    }
    const clip = `clip-${charts.indexOf(curve)}`;
    const frame = { x: EDGE.left, y: EDGE.top - 1, width: WIDTH - EDGE.left - EDGE.right, height: height + 2 };
    picture.append(drawn('clipPath', { id: clip }, drawn('rect', frame)));
    const lines = drawn('g', { 'clip-path': `url(#${clip})` });
    picture.append(lines);
    for (const series of shown) plotted(series, lines, picture);

    function plotted(series, inside, outside) {
      const color = `series-${curve.series.indexOf(series) % 6}`;
      const steps = series.points.map((point) => point[0]);
      const means = series.measured ? series.points.map((point) => point[1]) : smoothed(series.points.map((point) => point[1]));
      if (!series.measured && means.length >= LONG) inside.append(drawn('path', { class: `${color} raw`, d: line(series.points, x, y) }));
      inside.append(drawn('path', { class: color, d: line(steps.map((step, index) => [step, means[index]]), x, y) }));
      for (const [step, value, low, high] of series.points) {
        if (high !== undefined) inside.append(drawn('path', { class: `${color} interval`, d: `M${x(step)} ${within(low)}V${within(high)}` }));
        if (value > top || value < bottom) {
          const edge = value > top ? EDGE.top : HEIGHT - EDGE.bottom;
          const sign = value > top ? '↑' : '↓';
          if (series.measured) {
            const near = { class: 'beyond', x: x(step) + (step > data.span / 2 ? -4 : 4), y: edge + (value > top ? 10 : -4), 'text-anchor': step > data.span / 2 ? 'end' : 'start' };
            outside.append(drawn('text', near, `${sign} ${number(value, curve.percent)}`));
          }
        } else if (series.measured || series.points.length === 1) {
          inside.append(drawn('path', { class: `${color} point`, d: MARKS[curve.series.indexOf(series) % MARKS.length](x(step), y(value)) }));
        }
      }
    }

    const legend = element('div', { class: 'legend' });
    for (const series of curve.series) {
      const off = settings.hidden.includes(series.label);
      const toggled = off ? settings.hidden.filter((label) => label !== series.label) : [...settings.hidden, series.label];
      const key = element('i', { class: `series-${curve.series.indexOf(series) % 6}` });
      legend.append(button([key, series.label], !off, () => set({ hidden: toggled }), { class: 'key' }));
    }
    const tools = element('div', { class: 'tools' });
    if (positive) tools.append(button('log', log, () => set({ log: !settings.log }), { title: 'Logarithmic axis' }));
    if (cut && !log) tools.append(button('all', settings.whole, () => set({ whole: !settings.whole }), { title: 'Show values beyond the axis' }));
    const values_ = element('div', { class: 'values', hidden: true });
    figure.replaceChildren(element('figcaption', {}, curve.title, tools), legend, picture, values_);
    hovering(curve, shown, picture, values_, x, within);
  }

  draw();
  return figure;
}

// Shows the values at the step under the pointer, or at the one that arrow keys choose.
function hovering(curve, shown, picture, box, x, y) {
  const steps = [...new Set(shown.flatMap((series) => series.points.map((point) => point[0])))].sort((a, b) => a - b);
  const cross = drawn('g', { class: 'cross' });
  picture.append(cross);
  let at = null;

  function show(step) {
    at = step;
    const lines = shown.map((series) => {
      const point = series.points.reduce((best, one) => (Math.abs(one[0] - step) < Math.abs(best[0] - step) ? one : best));
      return { series, point };
    });
    const near = lines.filter(({ point }) => point[0] === step);
    cross.replaceChildren(
      drawn('line', { x1: x(step), x2: x(step), y1: EDGE.top, y2: HEIGHT - EDGE.bottom }),
      ...near.map(({ series, point }) => drawn('circle', { class: `series-${curve.series.indexOf(series) % 6}`, cx: x(step), cy: y(point[1]), r: 4 })),
    );
    const texts = near.map(({ series, point }) => {
      const interval = point.length > 3 ? ` [${number(point[2], curve.percent)}, ${number(point[3], curve.percent)}]` : '';
      return element('div', {}, element('i', { class: `series-${curve.series.indexOf(series) % 6}` }), `${series.label} `, element('b', {}, number(point[1], curve.percent)), interval);
    });
    box.replaceChildren(element('div', {}, `step ${step}`), ...texts);
    box.hidden = false;
    box.style.left = `${(100 * x(step)) / WIDTH}%`;
    box.classList.toggle('before', x(step) > WIDTH / 2);
  }

  function hide() {
    box.hidden = true;
    cross.replaceChildren();
  }

  picture.addEventListener('pointermove', (event) => {
    const area = picture.getBoundingClientRect();
    const step = (((event.clientX - area.left) / area.width) * WIDTH - EDGE.left) / (WIDTH - EDGE.left - EDGE.right) * data.span;
    if (steps.length) show(steps.reduce((best, one) => (Math.abs(one - step) < Math.abs(best - step) ? one : best)));
  });
  picture.addEventListener('pointerleave', hide);
  picture.addEventListener('blur', hide);
  picture.addEventListener('keydown', (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!move || !steps.length) return;
    event.preventDefault();
    const index = at === null ? (move > 0 ? 0 : steps.length - 1) : steps.indexOf(at) + move;
    show(steps[Math.min(steps.length - 1, Math.max(0, index))]);
  });
}

const charts = [...data.curves, ...data.more];
{
  const section = document.getElementById('curves');
  if (section && charts.length) {
    section.hidden = false;
    section.append(
      element('div', { class: 'curves' }, data.curves.map(chart)),
      element('p', { class: 'note' }, 'Marked points are evaluations; the pale bar behind one is its 95 % interval. Of long series the strong line is a moving average. Click a name to hide a series.'),
    );
    if (data.more.length) {
      section.append(element('details', { id: 'more-curves' }, element('summary', {}, 'What else was logged'), element('div', { class: 'curves' }, data.more.map(chart))));
    }
  }
}
