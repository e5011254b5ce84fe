// SPDX-License-Identifier: Apache-2.0
// A run as its states tell it, and how its numbers are written for people. The live page and the report share this.
class Run {
  constructor(name = '') {
    this.name = name;
    this.begin();
  }

  begin() {
    this.state = null;
    this.curves = new Map();  // name -> {step: [[step, value], ...], time: [[seconds since the run began, value], ...]}
    this.history = [];
    this.config = '';
    this.cpu = new Map();  // key of a member -> [[now_s, cpu_s], ...] of the last seconds
  }

  // `whole`: the first state of a stream, which takes the place of all that was known. Later ones bring only what is
  // new in curves and history; everything else they replace.
  apply(state, whole) {
    if (whole) this.begin();
    for (const [name, points] of Object.entries(state.curves ?? {})) {
      if (!this.curves.has(name)) this.curves.set(name, {step: [], time: []});
      const curve = this.curves.get(name);
      for (const [time_s, step, value] of points) {
        curve.time.push([time_s - state.started_s, value]);
        if (!Number.isFinite(step)) continue;
        // A step that was done again hides what came of it, and after it, before.
        while (curve.step.length && curve.step.at(-1)[0] >= step) curve.step.pop();
        curve.step.push([step, value]);
      }
    }
    for (const event of state.history ?? []) this.history.push(event);
    if (typeof state.config === 'string') this.config = state.config;
    this.state = state;
    this.#count_cpu(state);
  }

  #count_cpu(state) {
    for (const member of state.members ?? []) {
      if (!Number.isFinite(member.cpu_s)) continue;
      const key = key_of(member);
      const seen = this.cpu.get(key) ?? [];
      // Another process in the same place counts from zero.
      if (seen.length && member.cpu_s < seen.at(-1)[1]) seen.length = 0;
      seen.push([state.now_s, member.cpu_s]);
      while (seen.length > 2 && seen[1][0] <= state.now_s - 4) seen.shift();
      this.cpu.set(key, seen);
    }
  }

  // Processors that the member kept busy in the last seconds; null where that is not known yet.
  cpu_of(member) {
    const seen = this.cpu.get(key_of(member));
    if (!member.alive || !seen || seen.length < 2) return null;
    const [[begin, used], [end, now]] = [seen[0], seen.at(-1)];
    return end > begin ? (now - used) / (end - begin) : null;
  }

  // [[x, value], ...], `over` being 'step' or 'time'.
  points(name, over) { return this.curves.get(name)?.[over] ?? []; }

  // What the time axis of a curve shows of the history.
  marks(over) {
    const marks = [];
    for (const event of this.history) {
      const look = mark_of(event);
      const x = over === 'time' ? event.time_s - this.state.started_s : event.step;
      if (look && Number.isFinite(x)) marks.push({x, look, kind: event.kind, text: event.text});
    }
    return marks;
  }

  get ended() { return this.state?.phase === 'ended'; }

  get elapsed_s() { return this.state.now_s - this.state.started_s; }

  // The names of all curves, those that the program logged first: the loss before others.
  curve_names() {
    const logged = [...this.curves.keys()].filter((name) => !Object.hasOwn(kOwnCurves, name));
    const order = (name) => (/^loss$/i.test(name) ? 0 : /loss/i.test(name) ? 1 : 2);
    logged.sort((a, b) => order(a) - order(b));
    return [...logged, ...Object.keys(kOwnCurves).filter((name) => this.curves.has(name))];
  }
}

const key_of = (member) => `${member.role} ${member.rank}`;

// The curves that tutti itself draws. They begin at zero, so that half as high means half as much.
const kOwnCurves = {
  samples_per_s: {title: 'samples/s', write: (value) => write.number(value)},
  exposed: {title: 'exposed', write: (value) => write.percent(value), label: (value) => `${round(value * 100)} %`},
  step_s: {title: 'step time', write: (value) => write.seconds(value), label: (value) => write.seconds(value)},
};

const title_of = (name) => (Object.hasOwn(kOwnCurves, name) ? kOwnCurves[name].title : name);

const kKinds = {
  joined: ['joined', 'good'],
  lost: ['lost', 'bad'],
  replaced: ['replaced', 'good'],
  slow: ['slow', 'warn'],
  quiet: ['silent', 'warn'],
  generation: ['generation', 'neutral'],
  checkpoint: ['checkpoint', ''],
  checkpoint_failed: ['no checkpoint', 'bad'],
  skipped: ['skipped', 'warn'],
  stopping: ['stopping', 'neutral'],
  ended: ['ended', ''],
  notice: ['notice', ''],
};

const kind_title = (kind) => kKinds[kind]?.[0] ?? kind;
const kind_look = (kind) => kKinds[kind]?.[1] ?? '';

// bad, warn, good or neutral; empty for what leaves no mark: the start of a run, and what goes as it should.
function mark_of(event) {
  if ((event.kind === 'joined' || event.kind === 'generation') && !(event.generation > 1)) return '';
  return kind_look(event.kind);
}

const round = (value, digits = 4) => String(Number(value.toPrecision(digits)));

// Numbers for people. What is not known is a dash; a number that JSON could not carry is no number.
const write = {
  none: '–',

  number(value) {
    if (value === undefined) return write.none;
    if (!Number.isFinite(value)) return 'nan';
    const size = Math.abs(value);
    if (size !== 0 && (size < 1e-3 || size >= 1e7))
      return value.toExponential(2).replace(/\.?0+e/, 'e').replace('e+', 'e');
    if (size >= 1000) return write.count(Math.round(value));
    return round(value, 3 + (size >= 100 ? 1 : 0));
  },

  count(value) {
    return Number.isFinite(value) ?
        String(value).replace(/\B(?=(\d{3})+$)/g, Math.abs(value) >= 10000 ? '\u202f' : '') :
        write.none;
  },

  percent(value) {
    if (!Number.isFinite(value)) return write.none;
    const percent = value * 100;
    return `${percent !== 0 && Math.abs(percent) < 10 ? round(percent, 2) : Math.round(percent)} %`;
  },

  // Short times: 420 µs, 11.3 ms, 3.2 s, 142 s, 12:05.
  seconds(value) {
    if (!Number.isFinite(value)) return write.none;
    if (value === 0) return '0 s';
    if (value < 1e-3) return `${round(value * 1e6, 3)} µs`;
    if (value < 0.9995) return `${round(value * 1e3, 3)} ms`;
    if (value < 99.5) return `${round(value, 3)} s`;
    return value < 600 ? `${Math.round(value)} s` : write.duration(value);
  },

  // How long something took or will take: 0:42, 1:05, 2:03:10, 3 d 4:05:06.
  duration(value) {
    if (!Number.isFinite(value)) return write.none;
    const whole = Math.max(0, Math.round(value));
    const two = (number) => String(number).padStart(2, '0');
    const [days, hours, minutes, rest] =
        [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60, whole % 60];
    if (whole < 3600) return `${minutes}:${two(rest)}`;
    return `${days ? `${days} d ` : ''}${hours}:${two(minutes)}:${two(rest)}`;
  },

  bytes(value) {
    if (!Number.isFinite(value)) return write.none;
    const unit = value < 1e3 ? 0 : Math.min(5, Math.floor(Math.log10(value) / 3 + 1e-9));
    return `${round(value / 1000 ** unit, 3)} ${['B', 'kB', 'MB', 'GB', 'TB', 'PB'][unit]}`;
  },

  // The time of day, with the date where the run is longer than a day.
  clock(time_s, with_date) {
    if (!Number.isFinite(time_s)) return write.none;
    const date = new Date(time_s * 1000);
    const two = (number) => String(number).padStart(2, '0');
    const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} `;
    return (with_date ? day : '') + [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(':');
  },
};

// --- elements. What a run says is only ever text: it is put in by textContent, never as HTML.

function make(tag, properties = {}, children = []) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === 'class')
      element.className = value;
    else if (name === 'text')
      element.textContent = value;
    else
      element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const find = (id) => document.getElementById(id);

// Elements that do not change are left alone: no layout, and a text that somebody has marked stays marked.
function set_text(element, text) {
  if (element.shown !== text) element.textContent = element.shown = text;
}

function set_class(element, name) {
  if (element.className !== name) element.className = name;
}

// One dt and dd for each [name, text] of `facts`, kept from one call to the next.
function set_facts(list, facts) {
  list.kept ??= new Map();
  const names = new Set();
  let place = list.firstElementChild;
  for (const [name, text, look = ''] of facts) {
    names.add(name);
    let entry = list.kept.get(name);
    if (!entry) {
      entry = make('div', {}, [make('dt', {text: name, title: name}), make('dd')]);
      list.kept.set(name, entry);
    }
    if (entry === place)
      place = place.nextElementSibling;
    else
      list.insertBefore(entry, place);
    set_text(entry.lastChild, text);
    set_class(entry.lastChild, look);
  }
  for (const [name, entry] of list.kept) {
    if (names.has(name)) continue;
    entry.remove();
    list.kept.delete(name);
  }
}

function history_entry(event, with_date) {
  return make('li', {'data-kind': event.kind, 'data-rank': event.rank ?? ''}, [
    make('span', {class: 'quiet', text: write.clock(event.time_s, with_date)}),
    make('span', {class: `kind ${kind_look(event.kind)}`, text: kind_title(event.kind)}),
    make('span', {class: 'text', text: event.text}),
  ]);
}
