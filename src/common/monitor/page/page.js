// SPDX-License-Identifier: Apache-2.0
// The live page: what /events says is shown as it comes, and what the user asks for is sent. Addresses are relative, so
// that the page also works below a folder of a proxy's.
const kSilence_s = 10;  // without a state for so long, the connection counts as lost
const kRetry_ms = 3000;
const kLogRefresh_ms = 2000;
const kEntriesShown = 100;

const run = new Run();

// --- what the visitor chose, kept for a reload

function remembered(name) {
  try {
    return sessionStorage.getItem(`tutti-${name}`);
  } catch {
    return null;
  }
}

function remember(name, value) {
  try {
    if (value === null)
      sessionStorage.removeItem(`tutti-${name}`);
    else
      sessionStorage.setItem(`tutti-${name}`, value);
  } catch {
    // A browser that keeps nothing asks again.
  }
}

// --- the state of the run

const kPhases = {
  starting: ['starting', 'blue'],
  training: ['training', 'good'],
  recovering: ['recovering', 'warn'],
  stopping: ['stopping', 'warn'],
  ended: ['ended', ''],
};

function announce(text) { find('announce').textContent = text; }

function how_it_ended() {
  const {exit_code, cause} = run.state;
  const code = exit_code === null || exit_code === undefined ? '' : ` with exit code ${exit_code}`;
  return `The run ended after ${write.duration(run.elapsed_s)}${code}${cause ? `: ${cause}` : '.'}`;
}

function show_phase() {
  const {phase, exit_code} = run.state;
  let [text, look] = kPhases[phase] ?? [phase, ''];
  if (run.ended) look = exit_code ? 'bad' : exit_code === 0 ? 'good' : '';
  const pill = find('phase');
  if (pill.shown !== undefined && pill.shown !== text) announce(run.ended ? how_it_ended() : `The run is ${text}.`);
  set_text(pill, text);
  set_class(pill, `pill ${look}`);
}

function show_notice() {
  const {version, cause, exit_code} = run.state;
  let text = '';
  let look = 'warn';
  if (version !== 1)
    text = `The run tells its state in version ${version}, this page knows version 1: some of it may be missing.`;
  else if (run.ended)
    [text, look] = [how_it_ended(), exit_code ? 'bad' : 'quiet'];
  else if (cause)
    text = cause;
  const notice = find('notice');
  notice.hidden = !text;
  set_text(notice, text);
  set_class(notice, `notice ${look}`);
}

function counted(name, part, whole) {
  return `${name} ${write.count(part)}${whole > 0 ? ` of ${write.count(whole)}` : ''}`;
}

function show_progress() {
  const {epoch, epochs, step, steps, left_s} = run.state.progress ?? {};
  const where = [];
  if (Number.isFinite(epoch)) where.push(counted('epoch', epoch, epochs));
  if (Number.isFinite(step)) where.push(counted('step', step, steps));
  set_text(find('where'), where.join(', '));
  set_text(find('left'), Number.isFinite(left_s) && !run.ended ? `${write.duration(left_s)} left` : '');
  const part = done_part(run.state.progress);
  const bar = find('bar');
  bar.hidden = part === null;
  if (part !== null) {
    bar.setAttribute('aria-valuenow', Math.floor(part * 100));
    bar.setAttribute('aria-valuetext', where.join(', '));
    bar.firstElementChild.style.width = `${part * 100}%`;
  }
}

function show_title() {
  const part = done_part(run.state.progress);
  const done = part === null ? '' : `${Math.floor(part * 100)} %`;
  document.title = [done, run.state.phase, run.state.program || 'tutti'].filter(Boolean).join(' · ');
}

// How much of the training is done, as far as that is known: `steps` are those of all epochs.
function done_part(progress) {
  const {step, steps} = progress ?? {};
  return Number.isFinite(step) && steps > 0 ? Math.min(1, step / steps) : null;
}

function show_numbers() {
  const {state} = run;
  const {samples_per_s, exposed} = state.progress ?? {};
  const facts = [['elapsed', write.duration(run.elapsed_s)]];
  if (Number.isFinite(samples_per_s)) facts.push(['samples/s', write.number(samples_per_s)]);
  if (Number.isFinite(exposed)) facts.push(['exposed', write.percent(exposed)]);
  for (const [name, value] of Object.entries(state.values ?? {})) {
    facts.push([name, write.number(value), Number.isFinite(value) ? '' : 'bad']);
  }
  const alive_of = (title, role, count) => {
    const alive = state.members.filter((member) => member.role === role && member.alive).length;
    const all_there = alive === count || run.ended;
    return [title, all_there ? String(count) : `${alive} of ${count}`, all_there ? '' : 'warn'];
  };
  facts.push(alive_of('workers', 'worker', state.workers));
  if (state.shards) facts.push(alive_of('servers', 'server', state.shards));
  facts.push(['exchange', state.exchange || write.none], ['generation', write.count(state.generation)]);
  set_facts(find('numbers'), facts);
}

function show_checkpoints() {
  const {last_step, age_s, taken, failed, write_s} = run.state.checkpoint ?? {};
  const facts = [['newest', Number.isFinite(last_step) ? `step ${write.count(last_step)}` : 'none yet']];
  if (Number.isFinite(age_s))
    facts.push(['age', age_s < 60 ? write.seconds(Math.round(age_s)) : write.duration(age_s)]);
  facts.push(['taken', write.count(taken)]);
  if (Number.isFinite(write_s) && taken) facts.push(['written in', write.seconds(write_s)]);
  facts.push(['failed', write.count(failed), failed ? 'bad' : '']);
  set_facts(find('checkpoints'), facts);
}

// --- curves

const charts = new Map();  // name -> LineChart

function chosen_curves(names) {
  const kept = JSON.parse(remembered('curves') ?? 'null');
  if (kept) return names.filter((name) => kept.includes(name));
  return [names[0], 'samples_per_s'].filter((name, index, all) => names.includes(name) && all.indexOf(name) === index);
}

function show_curves() {
  const names = run.curve_names();
  const choice = find('choice');
  const shown = new Set(chosen_curves(names));
  if (choice.names !== names.join('\n')) {
    choice.names = names.join('\n');
    choice.replaceChildren(...names.map((name) => {
      const box = make('input', {type: 'checkbox', value: name});
      box.checked = shown.has(name);
      box.addEventListener('change', choose_curves);
      return make('label', {class: 'tick'}, [box, make('span', {text: title_of(name)})]);
    }));
  }
  const place = find('charts');
  for (const name of names) {
    if (shown.has(name) && !charts.has(name)) charts.set(name, new LineChart(title_of(name)));
  }
  for (const [name, chart] of charts) {
    if (!shown.has(name)) {
      chart.element.remove();
      charts.delete(name);
    }
  }
  const wanted = names.filter((name) => shown.has(name)).map((name) => charts.get(name).element);
  if (wanted.length !== place.children.length || wanted.some((element, index) => place.children[index] !== element)) {
    place.replaceChildren(...wanted);
  }
  const over = document.querySelector('input[name=over]:checked').value;
  const log = find('log-scale').checked;
  for (const [name, chart] of charts) chart_of_runs(chart, name, [run], over, log);
  show_mark_legend(find('marks'), run.marks(over));
}

function choose_curves() {
  const boxes = [...find('choice').querySelectorAll('input')];
  remember('curves', JSON.stringify(boxes.filter((box) => box.checked).map((box) => box.value)));
  show_curves();
}

// --- processes

const kRoles = {
  worker: ['Workers', 'worker'],
  server: ['Parameter servers', 'server'],
  agent: ['Agents', 'agent']
};

const kColumns = [
  {title: 'Host', text: (member) => member.host},
  {title: 'Activity', look: 'activity', text: (member) => (member.alive ? member.activity || write.none : run.ended ? 'ended' : 'lost')},
  {title: 'Step', number: true, text: (member) => (member.role === 'worker' ? write.count(member.step) : write.none)},
  {title: 'Step time', number: true, text: (member) => write.seconds(member.step_s)},
  {title: 'Waited', hint: 'for others, in total', number: true, text: (member) => write.seconds(member.waited_s)},
  {
    title: 'Others waited',
    hint: 'for this one, in total',
    number: true,
    look: 'blame',
    text: (member) => write.seconds(member.caused_wait_s)
  },
  {title: 'Memory', number: true, text: (member) => write.bytes(member.memory_bytes)},
  {title: 'CPU', hint: 'of one processor', number: true, text: (member) => write.percent(run.cpu_of(member) ?? NaN)},
  {title: 'GPU memory', number: true, look: 'gpu', text: (member) => write.bytes(member.gpu_memory_bytes)},
  {title: 'GPU', number: true, look: 'gpu', text: (member) => write.percent(member.gpu_utilization ?? NaN)},
  {title: 'Generation', number: true, text: (member) => write.count(member.generation)},
  {
    title: 'Last heard',
    number: true,
    text: (member) =>
        (Number.isFinite(member.heard_s) ? `${write.seconds(Math.round(member.heard_s * 10) / 10)} ago` : write.none)
  },
];

function make_table_head() {
  const row = find('members').tHead.rows[0];
  row.append(make('th', {scope: 'col', text: 'Process'}));
  for (const {title, hint, number, look} of kColumns) {
    const head = make(
        'th', {scope: 'col', class: `${number ? 'number' : ''} ${look === 'gpu' ? 'gpu' : ''}`.trim(), text: title});
    if (hint) head.title = `${title}: ${hint}`;
    row.append(head);
  }
}

const groups = new Map();  // role -> {body, rows: Map of rank -> Row}

// The row of a process, and the end of its log below it while that is open.
class Row {
  constructor(member) {
    this.role = member.role;
    this.rank = member.rank;
    const id = `log-${member.role}-${member.rank}`;
    const name = `${kRoles[member.role]?.[1] ?? member.role} ${member.rank}`;
    this.open = make(
        'button',
        {type: 'button', class: 'open', 'aria-expanded': 'false', 'aria-controls': id, text: name, title: 'Log'});
    this.open.addEventListener('click', () => this.#toggle());
    this.cells = kColumns.map(({number, look}) => {
      const parts = look === 'blame' ? [make('span'), make('i')] : [];
      return make('td', {class: `${number ? 'number' : ''} ${look ?? ''}`.trim()}, parts);
    });
    this.element = make(
        'tr', {'data-role': member.role, 'data-rank': member.rank},
        [make('th', {scope: 'row'}, [this.open]), ...this.cells]);
    this.text = make('pre');
    this.tail =
        make('div', {class: 'tail', tabindex: '0', role: 'region', 'aria-label': `Log of ${name}`}, [this.text]);
    this.log = make('tr', {class: 'log', id, hidden: ''}, [make('td', {colspan: kColumns.length + 1}, [this.tail])]);
  }

  update(member, worst, most) {
    set_class(this.element, member.alive || run.ended ? '' : 'dead');
    kColumns.forEach(({text, look}, index) => {
      const cell = this.cells[index];
      if (look !== 'blame') return set_text(cell, text(member));
      set_text(cell.firstChild, text(member));
      set_class(cell, `number blame${worst ? ' worst' : ''}`);
      cell.lastChild.style.width =
          most > 0 && member.caused_wait_s > 0 ? `${(member.caused_wait_s / most) * 100}%` : '0';
    });
  }

  remove() {
    clearInterval(this.timer);
    this.gone = true;
    this.element.remove();
    this.log.remove();
  }

  #toggle() {
    const opened = this.log.hidden;
    this.log.hidden = !opened;
    this.open.setAttribute('aria-expanded', opened);
    clearInterval(this.timer);
    if (!opened) return;
    this.#read_log();
    this.timer = setInterval(() => this.#read_log(), kLogRefresh_ms);
  }

  async #read_log() {
    if (this.reading) return;
    this.reading = true;
    let text;
    try {
      const answer = await fetch(`log?role=${encodeURIComponent(this.role)}&rank=${encodeURIComponent(this.rank)}`);
      const body = await answer.text();
      // Colours are the terminal's.
      text = answer.ok ? body.replace(/\x1b\[[0-9;]*[A-Za-z]/g, '') || '(empty)' :
                         `No log: ${body.trim() || answer.status}`;
    } catch {
      // What is shown stays: a run that is over, or a connection that is lost, takes nothing away.
      text = this.text.shown ?? 'No log: no answer.';
    }
    this.reading = false;
    if (this.log.hidden || this.gone) return;
    const first = this.text.shown === undefined;
    const at_end = first || this.tail.scrollTop + this.tail.clientHeight >= this.tail.scrollHeight - 8;
    set_text(this.text, text);
    if (at_end) this.tail.scrollTop = this.tail.scrollHeight;
    if (run.ended) clearInterval(this.timer);
  }
}

function group_of(role) {
  if (!groups.has(role)) {
    const head = make('th', {scope: 'rowgroup', colspan: kColumns.length + 1, text: kRoles[role]?.[0] ?? role});
    groups.set(
        role, {body: make('tbody', {class: 'group', 'data-role': role}, [make('tr', {}, [head])]), rows: new Map()});
    // In the order of kRoles, whichever is heard of first.
    find('members').append(...[...Object.keys(kRoles), role].map((each) => groups.get(each)?.body).filter(Boolean));
  }
  return groups.get(role);
}

function show_members() {
  const {members} = run.state;
  const blamed = most_waited_for(members);
  const most = blamed?.caused_wait_s ?? 0;
  const present = new Set();
  for (const member of [...members].sort((a, b) => a.rank - b.rank)) {
    const {body, rows} = group_of(member.role);
    present.add(key_of(member));
    let row = rows.get(member.rank);
    if (!row) {
      row = new Row(member);
      const next = [...rows].filter(([rank]) => rank > member.rank).sort(([a], [b]) => a - b)[0]?.[1].element ?? null;
      rows.set(member.rank, row);
      body.insertBefore(row.element, next);
      body.insertBefore(row.log, next);
    }
    row.update(member, member === blamed, most);
  }
  for (const [role, {rows}] of groups) {
    for (const [rank, row] of rows) {
      if (present.has(`${role} ${rank}`)) continue;
      row.remove();
      rows.delete(rank);
    }
  }
  const has_gpu =
      members.some((member) => Number.isFinite(member.gpu_memory_bytes) || Number.isFinite(member.gpu_utilization));
  find('members').classList.toggle('no-gpu', !has_gpu);
  find('members-scroll').classList.toggle('long', members.length > 16);
  const agents = members.filter(({role}) => role === 'agent');
  find('agents-choice').hidden = !agents.length;
  // One that is lost is shown without being asked for.
  const hidden = !find('agents').checked && agents.every(({alive}) => alive || run.ended);
  if (groups.has('agent')) groups.get('agent').body.hidden = hidden;
  const wait = write.seconds(most).replace(' ', '\u00a0');
  const sentence = `Others waited most for ${blamed?.role} ${blamed?.rank} on ${blamed?.host}: ${wait}`;
  set_text(find('blamed'), blamed ? sentence : '');
}

// The member that the others lost most time to; null where they lost none.
function most_waited_for(members) {
  return members.reduce((most, member) => (member.caused_wait_s > (most?.caused_wait_s ?? 0) ? member : most), null);
}

// --- history

let entries_seen = 0;
let all_entries = false;

function show_history(again) {
  const list = find('history');
  if (again) {
    list.replaceChildren();
    entries_seen = 0;
  }
  const with_checkpoints = find('with-checkpoints').checked;
  const long = run.elapsed_s > 86400;
  const wanted = ({kind}) => with_checkpoints || kind !== 'checkpoint';
  const fresh = run.history.slice(entries_seen).filter(wanted);
  entries_seen = run.history.length;
  // The newest stands first.
  const shown = fresh.reverse().slice(0, all_entries ? fresh.length : kEntriesShown);
  list.prepend(...shown.map((event) => history_entry(event, long)));
  while (!all_entries && list.children.length > kEntriesShown) list.lastElementChild.remove();
  const total = run.history.filter(wanted).length;
  list.hidden = !total;
  find('history-none').hidden = Boolean(total);
  find('history-all').hidden = list.children.length >= total;
  set_text(find('history-all'), `Show all ${total}`);
  return fresh;
}

// --- commands

let token_given = '';  // from the address, before the job's name is known

function take_token_from_address() {
  const given = new URLSearchParams(location.hash.slice(1)).get('token');
  if (given === null) return;
  token_given = given;
  // It stays in neither the address bar nor the history.
  history.replaceState(null, '', location.pathname + location.search);
}

// The token belongs to one run: another one on the same port asks for its own.
const token_name = () => `token-${run.state.job}`;

function closed(dialog) {
  return new Promise((resolve) => dialog.addEventListener('close', () => resolve(dialog.returnValue), {once: true}));
}

async function ask(dialog) {
  dialog.returnValue = '';
  const answer = closed(dialog);
  dialog.showModal();
  return answer;
}

async function token_of_run(wrong) {
  const kept = remembered(token_name());
  if (kept && !wrong) return kept;
  find('ask-token-wrong').hidden = !wrong;
  find('token-folder').textContent = ` (${run.state.job})`;
  find('token').value = '';
  const used = await ask(find('ask-token')) === 'use' ? find('token').value.trim() : '';
  find('token').value = '';
  if (used) remember(token_name(), used);
  return used;
}

const kCommands = {
  checkpoint: {done: 'The run will write a checkpoint.', title: 'Checkpoint'},
  stop: {done: 'The run will end after this step.', title: 'Stop'},
};
let busy = false;  // a command is under way: the buttons keep the focus, but do nothing

async function command(name) {
  if (busy) return;
  busy = true;
  try {
    if (name === 'stop' && await ask(find('ask-stop')) !== 'stop') return;
    answer(await send(name));
  } finally {
    busy = false;
  }
}

function answer({text, look}) {
  const element = find('answer');
  element.textContent = text;
  element.className = `answer small ${look}`;
}

async function send(name) {
  const {title, done} = kCommands[name];
  for (let wrong = false;; wrong = true) {
    const token = await token_of_run(wrong);
    if (!token) return {text: `${title}: not asked for, without a token.`, look: 'quiet'};
    let response, body;
    try {
      response = await fetch(name, {method: 'POST', headers: {Authorization: `Bearer ${token}`}});
      body = (await response.text()).trim();
    } catch {
      return {text: `${title}: no answer from the run.`, look: 'bad'};
    }
    if (response.status === 401) {
      remember(token_name(), null);
      continue;
    }
    if (response.ok) return {text: body || done, look: 'good'};
    return {text: `${title}: ${body || `refused (${response.status})`}`, look: 'bad'};
  }
}

function show_commands() {
  const {commands} = run.state ?? {};
  const live = connection === 'live';
  find('checkpoint').disabled = !(live && commands?.checkpoint);
  find('stop').disabled = !(live && commands?.stop);
}

// --- the connection

let events = null;
let connection = 'connecting';
let heard_ms = performance.now();
let whole_next = true;
let waiting_to_show = false;

function set_connection(now) {
  const text = {connecting: 'connecting', live: 'live', lost: 'connection lost, trying again', ended: 'ended'}[now];
  const look = {connecting: '', live: 'good', lost: 'warn', ended: ''}[now];
  if (now !== connection && now === 'lost') announce('The connection to the run is lost, trying again.');
  if (now === 'live' && connection === 'lost') announce('The connection to the run is back.');
  connection = now;
  set_text(find('connection'), text);
  set_class(find('connection'), `pill ${look}`);
  show_commands();
}

function connect() {
  events?.close();
  heard_ms = performance.now();
  events = new EventSource('events');
  events.onopen = () => {
    whole_next = true;
  };
  events.onmessage = ({data}) => take(JSON.parse(data));
  events.onerror = () => {
    set_connection('lost');
    // The browser tries again by itself, except where the answer was no stream of events.
    if (events.readyState === EventSource.CLOSED) setTimeout(connect, kRetry_ms);
  };
}

function take(state) {
  heard_ms = performance.now();
  run.apply(state, whole_next);
  if (whole_next) show_again = true;
  whole_next = false;
  if (run.ended) events.close();
  set_connection(run.ended ? 'ended' : 'live');
  if (token_given) {
    remember(token_name(), token_given);
    token_given = '';
  }
  show_title();
  // Frames are not drawn while nobody looks; the newest state is when somebody does.
  if (!waiting_to_show) requestAnimationFrame(show);
  waiting_to_show = true;
}

let show_again = true;

function show() {
  waiting_to_show = false;
  const {state} = run;
  set_text(find('program'), state.program || 'tutti');
  set_text(find('identity'), `job ${state.job}, started ${write.clock(state.started_s, true)}, tutti ${state.tutti}`);
  show_phase();
  show_notice();
  show_progress();
  show_numbers();
  show_curves();
  show_members();
  show_checkpoints();
  const first = show_again;
  const news = show_history(show_again);
  show_again = false;
  const fault = news.find(({kind}) => kind === 'lost' || kind === 'replaced' || kind === 'checkpoint_failed');
  if (fault && !first) announce(fault.text);
  set_text(find('config'), run.config);
  show_commands();
}

function watch_connection() {
  const silent_s = (performance.now() - heard_ms) / 1000;
  if (run.ended || silent_s < kSilence_s) return;
  set_connection('lost');
  connect();
}

function start() {
  take_token_from_address();
  addEventListener('hashchange', () => {
    take_token_from_address();
    if (run.state && token_given) remember(token_name(), token_given);
  });
  make_table_head();
  find('checkpoint').addEventListener('click', () => command('checkpoint'));
  find('stop').addEventListener('click', () => command('stop'));
  for (const cancel of document.querySelectorAll('dialog .cancel'))
    cancel.addEventListener('click', () => cancel.closest('dialog').close(''));
  const redraw = () => run.state && show_curves();
  for (const radio of document.querySelectorAll('input[name=over]')) radio.addEventListener('change', redraw);
  find('log-scale').addEventListener('change', redraw);
  find('agents').addEventListener('change', () => run.state && show_members());
  find('with-checkpoints').addEventListener('change', () => run.state && show_history(true));
  find('history-all').addEventListener('click', () => {
    all_entries = true;
    show_history(true);
    find('history').focus();
  });
  setInterval(watch_connection, 1000);
  connect();
}

start();
