// SPDX-License-Identifier: Apache-2.0
// The report of a finished run, or of two side by side: their states are replayed, and what they left is shown.

const runs = JSON.parse(find('runs').textContent)
                 .map(({name, states}) => {
                   const run = new Run(name);
                   states.forEach((state, index) => run.apply(state, index === 0));
                   return run;
                 })
                 .filter((run) => run.state);

const both = runs.length > 1;
const dot = (index) => make('i', {class: `s${index}`});
const named = (run, index) => make(
    'span', {class: 'run-name'},
    both ? [dot(index), make('span', {text: run.name})] : [make('span', {text: run.name})]);

function table(heads, rows, head_class = '') {
  const head_row = make('tr', {}, heads.map(({content, number}) => {
    const cell = make('th', {scope: 'col', class: number ? 'number' : ''});
    cell.append(content);
    return cell;
  }));
  const body = rows.map((cells) => make('tr', {}, cells.map((content, index) => {
                          const cell = make(
                              index === 0 ? 'th' : 'td',
                              index === 0 ? {scope: 'row'} : {class: heads[index].number ? 'number' : ''});
                          cell.append(content);
                          return cell;
                        })));
  return make('table', {class: head_class}, [make('thead', {}, [head_row]), make('tbody', {}, body)]);
}

function section(title, content, run, index) {
  const head = make('h2', {}, both ? [`${title}: `, named(run, index)] : [title]);
  return make('section', {class: 'card'}, [head, content]);
}

function scrolled(element, label) {
  return make('div', {class: 'scroll', role: 'region', 'aria-label': label, tabindex: '0'}, [element]);
}

// --- what of a run the summary and the differences tell

const workers_of = (run) => run.state.members.filter(({role}) => role === 'worker');
const events_of = (run, ...kinds) => run.history.filter(({kind}) => kinds.includes(kind));

function mean_of(run, name) {
  const values = run.points(name, 'time').map(([, value]) => value).filter(Number.isFinite);
  return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
}

// How many losses there were, and how many of them training went on after: all where it ended well.
function losses(run) {
  const lost = events_of(run, 'lost').length;
  return {lost, survived: run.state.exit_code === 0 ? lost : Math.min(lost, events_of(run, 'replaced').length)};
}

function faults_survived(run) {
  const {lost, survived} = losses(run);
  return ['faults survived', lost ? `${survived} of ${lost}` : 'none', survived < lost ? 'bad' : ''];
}

function outcome(run) {
  const {phase, exit_code, cause} = run.state;
  if (phase !== 'ended') return {text: `last heard of while ${phase}`, look: 'warn'};
  if (exit_code) return {text: `exit code ${exit_code}`, look: 'bad'};
  return {text: exit_code === 0 ? 'ended well' : 'ended', look: cause ? 'warn' : 'good'};
}

function steps_done(run) {
  const {step, steps} = run.state.progress ?? {};
  if (!Number.isFinite(step)) return write.none;
  return steps > 0 && step !== steps ? `${write.count(step)} of ${write.count(steps)}` : write.count(step);
}

// --- parts of the report

function summary(run, index) {
  const {state} = run;
  const {text, look} = outcome(run);
  const facts = [
    ['duration', write.duration(run.elapsed_s)],
    ['steps', steps_done(run)],
    ...Object.entries(state.values ?? {})
        .map(([name, value]) => [name, write.number(value), Number.isFinite(value) ? '' : 'bad']),
    ['samples/s, mean', known(mean_of(run, 'samples_per_s'), write.number)],
    ['step time, mean', known(mean_of(run, 'step_s'), write.seconds)],
    ['exposed, mean', known(mean_of(run, 'exposed'), write.percent)],
    ['workers', write.count(state.workers)],
    ['servers', write.count(state.shards)],
    ['exchange', state.exchange || write.none],
    faults_survived(run),
    ['checkpoints', write.count(state.checkpoint?.taken)],
  ].filter(([, fact]) => fact !== write.none);
  const list = make('dl', {class: 'numbers'});
  set_facts(list, facts);
  const head = make('div', {class: 'card-head'}, [
    make('h2', {class: 'program'}, both ? [named(run, index)] : ['Summary']),
    make('span', {class: `pill ${look}`, text})
  ]);
  const identity = make('p', {
    class: 'quiet small',
    text: `${state.program}, job ${state.job}, started ${write.clock(state.started_s, true)}, tutti ${state.tutti}`
  });
  const parts = [head, identity];
  if (state.cause) parts.push(make('p', {class: `cause ${look}`, text: state.cause}));
  return make('section', {class: 'card summary'}, [...parts, list]);
}

const known = (value, how) => (value === null ? write.none : how(value));

function show_curves() {
  const over = document.querySelector('input[name=over]:checked').value;
  const log = find('log-scale').checked;
  for (const [name, chart] of charts) chart_of_runs(chart, name, runs, over, log);
  show_mark_legend(find('marks'), runs.flatMap((run) => run.marks(over)));
}

const charts = new Map();

function make_charts() {
  const names = [...new Set(runs.flatMap((run) => run.curve_names()))];
  // What the program logged comes before what tutti measured, whichever run has it.
  const order = (name) => Number(Object.hasOwn(kOwnCurves, name));
  for (const name of names.sort((a, b) => order(a) - order(b))) {
    const chart = new LineChart(title_of(name));
    charts.set(name, chart);
    find('charts').append(chart.element);
  }
  find('curves-none').hidden = names.length > 0;
}

const kParts =
    [['computing', 'computing_s'], ['waiting', 'waited_s'], ['data', 'data_s'], ['checkpoints', 'checkpoint_s']];

// A bar for each rank, all on one scale: the rank that trained longest fills it.
function step_time(run) {
  const workers = workers_of(run).filter((member) => Number.isFinite(member.computing_s));
  if (!workers.length) return null;
  const total = (member) => kParts.reduce((sum, [, field]) => sum + (member[field] ?? 0), 0);
  const longest = Math.max(...workers.map(total));
  const rows = workers.map((member) => {
    const bar = make('div', {class: 'parts', 'aria-hidden': 'true'}, kParts.map((part, index) => {
      const piece = make('i', {class: `s${index}`});
      piece.style.width = `${longest > 0 ? ((member[part[1]] ?? 0) / longest) * 100 : 0}%`;
      return piece;
    }));
    const each = ([, field]) => {
      const seconds = member[field] ?? 0;
      return `${write.seconds(seconds)} · ${write.percent(total(member) > 0 ? seconds / total(member) : 0)}`;
    };
    return [`worker ${member.rank}`, bar, ...kParts.map(each)];
  });
  const heads = [
    {content: 'Process'}, {content: 'Time'},
    ...kParts.map(([title], index) => ({content: with_colour(title, index), number: true}))
  ];
  return scrolled(table(heads, rows, 'times'), 'Time by rank');
}

const with_colour = (title, index) => make('span', {class: 'run-name'}, [dot(index), title]);

// Those whom others waited for, the worst first.
function slowest(run) {
  const guilty =
      run.state.members.filter((member) => member.caused_wait_s > 0).sort((a, b) => b.caused_wait_s - a.caused_wait_s);
  if (!guilty.length) return make('p', {class: 'quiet', text: 'Nobody was waited for.'});
  const most = guilty[0].caused_wait_s;
  const rows = guilty.slice(0, 8).map((member) => {
    const piece = make('i', {class: 's1'});
    piece.style.width = `${(member.caused_wait_s / most) * 100}%`;
    return [
      `${member.role} ${member.rank}`, member.host, write.seconds(member.caused_wait_s),
      make('div', {class: 'parts', 'aria-hidden': 'true'}, [piece]), write.seconds(member.waited_s),
      write.seconds(member.step_s)
    ];
  });
  const heads = [
    {content: 'Process'}, {content: 'Host'}, {content: 'Others waited', number: true}, {content: ''},
    {content: 'Waited', number: true}, {content: 'Last step time', number: true}
  ];
  return scrolled(table(heads, rows), 'The slowest');
}

function faults(run) {
  const told = run.history.filter((event) => mark_of(event));
  if (!told.length) return make('p', {class: 'quiet', text: 'None.'});
  return make('ol', {class: 'history'}, told.map((event) => history_entry(event, run.elapsed_s > 86400)));
}

function configuration(run, index) {
  const details = make('details', {}, [
    make('summary', {}, both ? ['Configuration: ', named(run, index)] : ['Configuration']),
    make('pre', {class: 'config', text: run.config || 'not recorded', tabindex: '0', 'aria-label': 'Configuration'})
  ]);
  return make('section', {class: 'card'}, [details]);
}

// --- two runs

// key -> value as it is written. The resolved configuration has one key a line.
function keys_of(config) {
  const keys = new Map();
  let section_name = '';
  for (const line of config.split('\n')) {
    const head = /^\s*\[([^\]]+)\]\s*$/.exec(line);
    const pair = /^\s*([\w."-]+)\s*=\s*(.*)$/.exec(line);
    if (head)
      section_name = `${head[1]}.`;
    else if (pair)
      keys.set(section_name + pair[1], pair[2]);
  }
  return keys;
}

function change(values) {
  const [first, second] = values;
  if (!Number.isFinite(first) || !Number.isFinite(second) || first === 0) return '';
  const part = (second - first) / Math.abs(first);
  return `${part > 0 ? '+' : part < 0 ? '−' : '±'}${write.percent(Math.abs(part))}`;
}

function differences() {
  const rows = [];
  const add = (title, values, how) => rows.push([
    title, ...values.map((value) => (Number.isFinite(value) ? how(value) : write.none)),
    how === write.count ? '' : change(values)
  ]);
  const logged = new Set(runs.flatMap((run) => Object.keys(run.state.values ?? {})));
  for (const name of logged) add(`${name}, final`, runs.map((run) => run.state.values?.[name]), write.number);
  add('samples/s, mean', runs.map((run) => mean_of(run, 'samples_per_s')), write.number);
  add('step time, mean', runs.map((run) => mean_of(run, 'step_s')), write.seconds);
  add('exposed, mean', runs.map((run) => mean_of(run, 'exposed')), write.percent);
  add('duration', runs.map((run) => run.elapsed_s), write.duration);
  add('steps', runs.map((run) => run.state.progress?.step), write.count);
  add('processes lost', runs.map((run) => events_of(run, 'lost').length), write.count);
  const keys = runs.map((run) => keys_of(run.config));
  for (const key of new Set(keys.flatMap((map) => [...map.keys()]))) {
    const values = keys.map((map) => map.get(key) ?? 'not set');
    if (values.some((value) => value !== values[0])) rows.push([key, ...values, '']);
  }
  const heads = [
    {content: ''}, ...runs.map((run, index) => ({content: named(run, index), number: true})),
    {content: 'Change', number: true}
  ];
  const filled = table(heads, rows, 'compare');
  filled.id = 'differences';
  find('differences').replaceWith(filled);
  find('differences-part').hidden = false;
}

function start() {
  if (!runs.length) {
    find('subtitle').textContent = 'There are no states in this report.';
    return;
  }
  const names = runs.map((run) => run.name).join(' and ');
  document.title = `tutti report: ${names}`;
  find('title').textContent = both ? 'Two runs side by side' : runs[0].state.program || runs[0].name;
  find('subtitle').textContent = names;
  find('summaries').append(...runs.map(summary));
  make_charts();
  show_curves();
  for (const control of document.querySelectorAll('input[name=over], #log-scale'))
    control.addEventListener('change', show_curves);
  if (both) differences();
  for (const [title, part] of [
           ['Where the time went', step_time], ['Whom others waited for', slowest], ['Faults', faults]]) {
    runs.forEach((run, index) => {
      const content = part(run);
      if (content) find('parts').append(section(title, content, run, index));
    });
  }
  find('parts').append(...runs.map(configuration));
}

start();
