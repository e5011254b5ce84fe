// SPDX-License-Identifier: Apache-2.0
// Line charts in SVG. A chart has several series over one axis, marks for what happened, and a read-out that follows
// the pointer or the arrow keys. It draws in pixels of the screen and so again when its size changes; colours are the
// style sheet's.
const kSvg = 'http://www.w3.org/2000/svg';

function svg(tag, attributes = {}, children = []) {
  const element = document.createElementNS(kSvg, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// Steps of 1, 2 or 5 times a power of ten that cut [low, high] into about `count` parts.
function nice_ticks(low, high, count) {
  const power = 10 ** Math.floor(Math.log10((high - low) / count));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => (high - low) / size <= count) ?? 10 * power;
  return multiples(low, high, step);
}

// The same for seconds, which people cut into minutes, hours and days.
function time_ticks(low, high, count) {
  const sizes = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];
  if (high - low < count) return nice_ticks(low, high, count);
  const step = sizes.find((size) => (high - low) / size <= count);
  return step ? multiples(low, high, step) : nice_ticks(low / 86400, high / 86400, count).map((days) => days * 86400);
}

function multiples(low, high, step) {
  const ticks = [];
  for (let index = Math.ceil(low / step - 1e-9); index * step <= high + step * 1e-9; ++index) {
    ticks.push(Number((index * step).toPrecision(12)));
  }
  return ticks;
}

// Powers of ten within [low, high]; with their halves and fifths where there would be too few.
function log_ticks(low, high, count) {
  const ticks = [];
  const decades = Math.log10(high / low);
  const every = Math.max(1, Math.ceil(decades / count));
  const factors = decades < 2.5 ? [1, 2, 5] : [1];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += every) {
    for (const factor of factors) {
      const tick = factor * 10 ** power;
      if (tick >= low * (1 - 1e-9) && tick <= high * (1 + 1e-9)) ticks.push(tick);
    }
  }
  return ticks.length > 1 ? ticks : nice_ticks(low, high, count);
}

const tick_label = {
  number(value) {
    const size = Math.abs(value);
    if (size >= 1e15 || (size !== 0 && size < 1e-3))
      return round(value, 3).includes('e') ? round(value, 3) : value.toExponential().replace('e+', 'e');
    for (const [unit, letter] of [[1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e4, 'k']]) {
      const scale = unit === 1e4 ? 1e3 : unit;
      if (size >= unit) return `${round(value / scale, 6)}${letter}`;
    }
    return round(value, 6);
  },

  time(seconds) {
    if (seconds === 0) return '0';
    if (seconds < 60) return `${round(seconds)} s`;
    return seconds % 86400 === 0 ? `${seconds / 86400} d` : write.duration(seconds);
  },
};

// What a mark looks like, not by its colour alone: a cross, a triangle, a circle, a diamond.
function mark_shape(look, x, y) {
  const path = {
    bad: `M${x - 4} ${y - 4}l8 8m0 -8l-8 8`,
    warn: `M${x} ${y - 4.5}l4.5 8h-9z`,
    good: `M${x - 4} ${y}a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z`,
    neutral: `M${x} ${y - 4.5}l4.5 4.5l-4.5 4.5l-4.5 -4.5z`,
  }[look];
  return svg('path', {class: `mark ${look}`, d: path});
}

// At most four points for each column of pixels: the first, the lowest, the highest, the last. The picture is the same.
function thin(points, to_x) {
  const kept = [];
  let begin = 0;
  while (begin < points.length) {
    const column = Math.floor(to_x(points[begin][0]));
    let [low, high, end] = [begin, begin, begin];
    while (end < points.length && Math.floor(to_x(points[end][0])) === column) {
      if (points[end][1] < points[low][1]) low = end;
      if (points[end][1] > points[high][1]) high = end;
      ++end;
    }
    for (const index of [...new Set([begin, low, high, end - 1])].sort((a, b) => a - b)) kept.push(points[index]);
    begin = end;
  }
  return kept;
}

// The index of the point whose x is nearest; `points` are in the order of x.
function nearest(points, x) {
  let [low, high] = [0, points.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle][0] < x)
      low = middle + 1;
    else
      high = middle;
  }
  return low > 0 && x - points[low - 1][0] < points[low][0] - x ? low - 1 : low;
}

class LineChart {
  // `title` names the chart. See update() for the rest.
  constructor(title) {
    this.title = title;
    this.at = null;  // what x is read out
    this.now = make('span', {class: 'now'});
    this.legend = make('div', {class: 'legend'});
    this.plot = make('div', {
      class: 'plot',
      tabindex: '0',
      role: 'slider',
      'aria-label': `${title}: points of the curve`,
      'aria-valuemin': '0',
      'aria-valuemax': '0',
      'aria-valuenow': '0',
      'aria-valuetext': 'no points yet'
    });
    this.picture = svg('svg', {'aria-hidden': 'true'});
    this.tip = make('div', {class: 'tip', hidden: ''});
    this.plot.append(this.picture, this.tip);
    this.element = make(
        'figure', {class: 'chart'},
        [make('figcaption', {}, [make('h3', {text: title}), this.legend, this.now]), this.plot]);
    this.plot.addEventListener('pointermove', (event) => this.#read_at_pointer(event));
    this.plot.addEventListener('pointerdown', (event) => this.#read_at_pointer(event));
    this.plot.addEventListener('pointerleave', () => this.#read(null));
    this.plot.addEventListener('blur', () => this.#read(null));
    this.plot.addEventListener('keydown', (event) => this.#read_by_key(event));
    new ResizeObserver(() => this.#draw()).observe(this.plot);
  }

  // series: [{name, look: 's0'..'s5', points: [[x, y], ...] in the order of x}]; marks: [{x, look, text}]; over: 'step'
  // or 'time'; log: powers of ten are equally far apart, where all values are positive; zero: the axis begins there;
  // write: a value for people; label: the same for a tick.
  update(what) {
    this.what = what;
    this.legend.hidden = what.series.length < 2;
    if (!this.legend.hidden) {
      this.legend.replaceChildren(
          ...what.series.map(({name, look}) => make('span', {class: look}, [make('i'), make('span', {text: name})])));
    }
    const newest = what.series.map(({points}) => points.at(-1)).filter(Boolean);
    set_text(this.now, what.series.length === 1 && newest.length ? what.write(newest[0][1]) : '');
    this.#draw();
  }

  // The series that the arrow keys walk along: the longest.
  get #path() { return this.what.series.reduce((a, b) => (b.points.length > a.points.length ? b : a)).points; }

  #draw() {
    const [width, height] = [this.plot.clientWidth, this.plot.clientHeight];
    if (!this.what || !width) return;
    const {series, marks, over} = this.what;
    const drawn = series.map(({points}) => points.filter(([, y]) => Number.isFinite(y)));
    const ys = drawn.flatMap((points) => extent(points, 1));
    const xs = series.flatMap(({points}) => extent(points, 0));
    if (!ys.length) return this.#draw_nothing(width, height, xs.length ? 'no finite values' : 'no values yet');

    const log = this.what.log && Math.min(...ys) > 0;
    const y_axis = this.#y_axis(ys, log, height);
    const label = this.what.label ?? tick_label.number;
    const labels = y_axis.ticks.map(label);
    const left = Math.max(28, 10 + 6.9 * Math.max(...labels.map((text) => text.length)));
    const [right, top, bottom] = [width - 12, 10, height - 30];
    // With one point there is no extent: it lies in the middle.
    let [x_low, x_high] = [Math.min(...xs), Math.max(...xs)];
    if (over === 'time') x_low = Math.min(0, x_low);
    if (x_low === x_high) [x_low, x_high] = [x_low - 1, x_high + 1];
    const to_x = (x) => left + ((x - x_low) / (x_high - x_low)) * (right - left);
    const to_y = (y) => bottom - y_axis.part(y) * (bottom - top);
    this.shape = {
      left,
      right,
      top,
      bottom,
      width,
      to_x,
      to_y,
      x_of: (at) => x_low + ((at - left) / (right - left)) * (x_high - x_low)
    };

    const parts = [];
    y_axis.ticks.forEach((tick, index) => {
      const y = to_y(tick);
      parts.push(
          svg('path', {class: 'grid', d: `M${left} ${y}H${right}`}),
          svg('text', {x: left - 7, y: y + 4, 'text-anchor': 'end'}, [labels[index]]));
    });
    const count = Math.max(3, Math.floor((right - left) / 64));
    let x_ticks = (over === 'time' ? time_ticks : nice_ticks)(x_low, x_high, count);
    if (over === 'step') x_ticks = x_ticks.filter(Number.isInteger);
    for (const tick of x_ticks) {
      const x = to_x(tick);
      const text = (over === 'time' ? tick_label.time : tick_label.number)(tick);
      const room = text.length * 3.4;
      const anchor = x + room > width ? 'end' : 'middle';
      parts.push(
          svg('path', {class: 'axis', d: `M${x} ${bottom}v4`}),
          svg('text', {x: anchor === 'end' ? width : x, y: bottom + 24, 'text-anchor': anchor}, [text]));
    }
    parts.push(svg('path', {class: 'axis', d: `M${left} ${bottom}H${right}`}));

    this.marks_shown = marks.filter(({x}) => x >= x_low && x <= x_high).sort((a, b) => a.x - b.x);
    for (const {x, look} of this.marks_shown)
      parts.push(svg('path', {class: `mark-line ${look}`, d: `M${to_x(x)} ${top}V${bottom}`}));
    series.forEach(({look, points}, index) => {
      if (!drawn[index].length) return;
      parts.push(svg('path', {class: `curve ${look}`, d: this.#line(points)}));
      const [x, y] = drawn[index].at(-1);
      parts.push(svg('circle', {class: `dot ${look}`, cx: to_x(x), cy: to_y(y), r: 3.5}));
    });
    // What happened at once stands one above the other.
    const lanes = [];
    for (const {x, look} of this.marks_shown) {
      let lane = lanes.findIndex((end) => to_x(x) >= end);
      if (lane === -1) lane = lanes.length;
      lanes[lane] = to_x(x) + 11;
      parts.push(mark_shape(look, to_x(x), bottom - 11 * Math.min(lane, 4)));
    }
    this.guide = svg('g');
    parts.push(this.guide);
    this.picture.replaceChildren(...parts);
    this.#show();
  }

  #draw_nothing(width, height, why) {
    this.shape = null;
    this.tip.hidden = true;
    this.picture.replaceChildren(svg('text', {x: width / 2, y: height / 2, 'text-anchor': 'middle'}, [why]));
  }

  // Its ticks, and what part of the height lies below a value.
  #y_axis(ys, log, height) {
    let [low, high] = [Math.min(...ys), Math.max(...ys)];
    const count = Math.max(2, Math.floor(height / 46));
    if (log) {
      if (low === high) [low, high] = [low / 2, high * 2];
      const room = (high / low) ** .04;
      [low, high] = [low / room, high * room];
      return {ticks: log_ticks(low, high, count), part: (y) => Math.log(y / low) / Math.log(high / low)};
    }
    if (this.what.zero) [low, high] = [Math.min(0, low), Math.max(0, high)];
    if (low === high) [low, high] = high === 0 ? [0, 1] : [low - Math.abs(low) / 2, high + Math.abs(high) / 2];
    const room = (high - low) * .05;
    if (!(this.what.zero && low === 0)) low -= room;
    high += room;
    return {ticks: nice_ticks(low, high, count), part: (y) => (y - low) / (high - low)};
  }

  // A value that is no number leaves a gap.
  #line(points) {
    const {to_x, to_y} = this.shape;
    const pieces = [[]];
    for (const point of points) {
      if (Number.isFinite(point[1]))
        pieces.at(-1).push(point);
      else if (pieces.at(-1).length)
        pieces.push([]);
    }
    const place = ([x, y]) => `${to_x(x).toFixed(1)} ${to_y(y).toFixed(1)}`;
    return pieces.filter((piece) => piece.length)
        .map((piece) => {
          const kept = piece.length > 2 * this.shape.width ? thin(piece, to_x) : piece;
          return `M${kept.map(place).join('L')}${kept.length === 1 ? 'h0' : ''}`;
        })
        .join('');
  }

  #read_at_pointer(event) {
    if (!this.shape) return;
    const at = event.clientX - this.plot.getBoundingClientRect().left;
    this.#read(this.shape.x_of(Math.min(Math.max(at, this.shape.left), this.shape.right)));
  }

  #read_by_key(event) {
    if (!this.shape || event.altKey || event.ctrlKey || event.metaKey) return;
    const path = this.#path;
    const last = path.length - 1;
    const now = this.at === null ? last : nearest(path, this.at);
    // Points that share a pixel are one for the eye, too.
    const stride = Math.max(1, Math.round(path.length / this.shape.width));
    const moves = {
      ArrowLeft: now - stride,
      ArrowDown: now - stride,
      ArrowRight: now + stride,
      ArrowUp: now + stride,
      PageDown: now - 10 * stride,
      PageUp: now + 10 * stride,
      Home: 0,
      End: last
    };
    if (event.key === 'Escape') return this.#read(null);
    if (!Object.hasOwn(moves, event.key)) return;
    event.preventDefault();
    this.#read(path[Math.min(Math.max(moves[event.key], 0), last)][0]);
  }

  #read(x) {
    this.at = x;
    if (this.shape) this.#show();
  }

  #show() {
    const {to_x, to_y, top, bottom, width} = this.shape;
    this.tip.hidden = this.at === null;
    if (this.at === null) return this.guide.replaceChildren();
    const path = this.#path;
    const index = nearest(path, this.at);
    const x = path[index][0];
    const where =
        this.what.over === 'time' ? (x < 60 ? write.seconds(x) : write.duration(x)) : `step ${write.count(x)}`;
    const lines = [make('div', {class: 'quiet', text: where})];
    const heard = [where];
    const parts = [svg('path', {class: 'guide', d: `M${to_x(x)} ${top}V${bottom}`})];
    for (const {name, look, points} of this.what.series) {
      if (!points.length) continue;
      const point = points[nearest(points, x)];
      // A series that does not reach so far has nothing to say here.
      if (Math.abs(to_x(point[0]) - to_x(x)) > 12) continue;
      const text = (this.what.series.length > 1 ? `${name} ` : '') + this.what.write(point[1]);
      lines.push(make('div', {class: look}, [make('i'), make('span', {text})]));
      heard.push(text);
      if (Number.isFinite(point[1]))
        parts.push(svg('circle', {class: `dot ${look}`, cx: to_x(point[0]), cy: to_y(point[1]), r: 4}));
    }
    // Every mark is near one of the points that the arrow keys reach.
    const near =
        this.marks_shown.filter((mark) => nearest(path, mark.x) === index || Math.abs(to_x(mark.x) - to_x(x)) < 6);
    for (const mark of near.slice(0, 4)) {
      lines.push(make('div', {class: mark.look, text: mark.text}));
      heard.push(mark.text);
    }
    if (near.length > 4) lines.push(make('div', {class: 'quiet', text: `and ${near.length - 4} more`}));
    this.guide.replaceChildren(...parts);
    this.tip.replaceChildren(...lines);
    const on_the_left = to_x(x) > width / 2;
    this.tip.style.left = on_the_left ? 'auto' : `${to_x(x) + 10}px`;
    this.tip.style.right = on_the_left ? `${width - to_x(x) + 10}px` : 'auto';
    this.plot.setAttribute('aria-valuemax', path.length - 1);
    this.plot.setAttribute('aria-valuenow', index);
    this.plot.setAttribute('aria-valuetext', heard.join(', '));
  }
}

// [lowest, highest] of what stands at `place` of the points; nothing where there are none.
function extent(points, place) {
  if (!points.length) return [];
  let [low, high] = [points[0][place], points[0][place]];
  for (const point of points) {
    if (point[place] < low) low = point[place];
    if (point[place] > high) high = point[place];
  }
  return [low, high];
}

// What the marks of the charts mean, for those kinds that occur.
function show_mark_legend(element, marks) {
  const kinds = new Map(marks.map(({kind, look}) => [kind, look]));
  const names = [...kinds.keys()].join(' ');
  if (element.dataset.kinds === names) return;
  element.dataset.kinds = names;
  element.replaceChildren(
      ...[...kinds].map(([kind, look]) => make('span', {}, [
                          svg('svg', {'aria-hidden': 'true', viewBox: '0 0 14 14'}, [mark_shape(look, 7, 7)]),
                          make('span', {text: kind_title(kind)})
                        ])));
}

// A chart for the curve `name` of each of `runs`.
function chart_of_runs(chart, name, runs, over, log) {
  const own = Object.hasOwn(kOwnCurves, name) ? kOwnCurves[name] : null;
  chart.update({
    series: runs.map((run, index) => ({name: run.name, look: `s${index % 6}`, points: run.points(name, over)}))
                .filter(({points}) => points.length),
    marks: runs.flatMap(
        (run) =>
            run.marks(over).map((mark) => (runs.length > 1 ? {...mark, text: `${run.name}: ${mark.text}`} : mark))),
    over,
    log: log && !own,
    zero: Boolean(own),
    write: own?.write ?? write.number,
    label: own?.label,
  });
}
