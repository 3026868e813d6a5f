// Axes: where they begin and end, and what is written at them.

const FAR = 2.5; // times the largest of the others: a first value beyond that would leave no room for the rest
const LONG = 30; // points from which single spikes are not what an axis is made for

const quantile = (sorted, share) => sorted[Math.round(share * (sorted.length - 1))];

function extent(values) {
  return values.length ? [Math.min(...values), Math.max(...values)] : [0, 1];
}

// What an axis has to show of a series: without its beginning, and without spikes, where these would flatten the rest.
function important(series) {
  const values = series.points.map((point) => point[1]);
  if (values.length < 2) return values;
  const later = values.slice(Math.max(1, Math.floor(values.length / 10)));
  if (values.length >= LONG) {
    const sorted = [...later].sort((a, b) => a - b);
    return [quantile(sorted, 0.01), quantile(sorted, 0.99)];
  }
  if (values.length >= 8) return later;
  const most = Math.max(...values.slice(1));
  return most > 0 && values[0] > FAR * most ? values.slice(1) : values;
}

// Returns the ends of the vertical axis, and whether values lie beyond them.
function range(curve, shown, whole) {
  const ends = (series) => series.points.flatMap((point) => (point.length > 3 ? [point[2], point[3]] : [point[1]]));
  const all = extent(shown.flatMap(ends));
  const [low, high] = extent(shown.flatMap(important));
  const size = high - low || Math.abs(high) / 2 || 1;
  let [bottom, top] = all;
  let cut = false;
  if (all[1] > high + size) [top, cut] = [high + 0.15 * size, true];
  if (all[0] < low - size && !curve.percent) [bottom, cut] = [low - 0.15 * size, true];
  if (whole) [bottom, top] = all;
  if (curve.percent) {
    bottom = Math.min(0, bottom);
    if ((top > 0.5 && top <= 1) || top <= 0) top = 1;
  }
  if (top === bottom) [bottom, top] = [bottom - Math.abs(bottom) / 2 - (bottom ? 0 : 0.5), top + Math.abs(top) / 2 + (top ? 0 : 0.5)];
  const room = curve.percent && (top === 1 || bottom === 0) ? 0.02 : 0.06;
  return { bottom: bottom - (bottom === 0 && curve.percent ? 0 : room * (top - bottom)), top: top + room * (top - bottom), cut };
}

function ticks(bottom, top, count) {
  const rough = (top - bottom) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((unit) => unit * power).find((unit) => unit >= rough);
  const found = [];
  for (let value = Math.ceil(bottom / step) * step; value <= top + step / 1e6; value += step) found.push(Math.abs(value) < step / 1e6 ? 0 : value);
  return found;
}

function powers(bottom, top) {
  const found = [];
  for (let power = Math.floor(Math.log10(bottom)); power <= Math.ceil(Math.log10(top)); power += 1) {
    for (const unit of [1, 2, 5]) found.push(unit * 10 ** power);
  }
  const inside = found.filter((value) => value >= bottom && value <= top);
  return inside.length > 7 ? inside.filter((value) => Number.isInteger(Math.round(1e6 * Math.log10(value)) / 1e6)) : inside;
}
