'use strict';
(() => {
  const MISSING = '–';
  const POLL = 5000;
  const TALL = 20;
  const SILENCE = 5000;
  const PLURALS = { day: 'days', hour: 'hours', minute: 'minutes', second: 'seconds' };
  const BAD = new Set(['blocked', 'farm-down', 'lookup-fails', 'reload-refused', 'renewal-refused']);
  const WARN = new Set(['left', 'draining', 'stopping', 'forgotten']);
  const GOOD = new Set(['unblocked', 'farm-up', 'lookup-works', 'reloaded', 'renewed', 'started', 'took-over', 'predecessor-gone', 'returned', 'undrained', 'found', 'vacated']);
  const STATES = {
    up: ['good', 'up'],
    blocked: ['bad', 'blocked'],
    probation: ['warn', 'on probation'],
    draining: ['warn', 'draining'],
    departed: ['warn', 'departed'],
  };
  const INTERFACES = {
    'xsi-actions': 'Xsi-Actions',
    'xsi-events': 'Xsi-Events',
    'auth-service': 'Authentication Service',
    dms: 'Device management',
    'call-settings': 'Call Settings',
  };

  const byId = (id) => document.getElementById(id);

  // Everything that is shown goes through here, and is text.
  const write = (node, text) => {
    if (node.textContent !== text) node.textContent = text;
  };

  const make = (tag, name, text) => {
    const node = document.createElement(tag);
    if (name) node.className = name;
    if (text !== undefined) node.textContent = text;
    return node;
  };

  const paint = (node, name) => {
    if (node.className !== name) node.className = name;
  };

  // Brings the children of `parent` in line with `items`; what stays is the same element, so that nothing jumps or loses focus.
  const known = new WeakMap();
  const list = (parent, items, key, create, update) => {
    const before = known.get(parent) || new Map();
    const now = new Map();
    items.forEach((item, index) => {
      let id = key(item);
      while (now.has(id)) id += '+';
      now.set(id, before.get(id) || create(item));
      update(now.get(id), item, index);
    });
    for (const [id, node] of before) if (!now.has(id)) node.remove();
    let cursor = parent.firstChild;
    for (const node of now.values()) {
      if (node === cursor) cursor = cursor.nextSibling;
      else parent.insertBefore(node, cursor);
    }
    known.set(parent, now);
  };

  // A table of `columns`, each [head, text of an item, class], the first one the row's head. A text may be [class, words].
  const table = (parent, columns, items, key, nothing, mark) => {
    if (!known.has(parent)) {
      const head = make('tr');
      for (const [name, , kind] of columns) {
        const cell = make('th', kind, name);
        cell.scope = 'col';
        head.append(cell);
      }
      const whole = make('table');
      const top = make('thead');
      top.append(head);
      whole.append(top, make('tbody'));
      parent.append(whole, make('p', 'empty', nothing));
      known.set(parent, new Map());
    }
    const [whole, empty] = parent.children;
    whole.hidden = items.length === 0;
    empty.hidden = items.length > 0;
    const row = () => {
      const line = make('tr');
      columns.forEach(([name, , kind], index) => {
        const cell = make(index === 0 ? 'th' : 'td', kind);
        if (index === 0) cell.scope = 'row';
        else cell.dataset.label = name;
        line.append(cell);
      });
      return line;
    };
    list(whole.tBodies[0], items, key, row, (line, item) => {
      if (mark) line.dataset.state = mark(item);
      columns.forEach(([, text, kind], index) => {
        const cell = line.children[index];
        const value = text(item);
        if (Array.isArray(value)) badge(cell, value[0], value[1]);
        else {
          write(cell, String(value));
          paint(cell, kind || '');
        }
      });
    });
  };

  const badge = (parent, tone, words) => {
    let node = parent.querySelector('.badge');
    if (!node) parent.append((node = make('span', 'badge')));
    paint(node, `badge ${tone}`);
    write(node, words);
  };

  const group = (number) => Math.round(number).toString().replace(/\B(?=(\d{3})+$)/g, '\u202f');
  const rate = (number) => (number >= 100 ? group(number) : number.toFixed(1));
  const milliseconds = (number) => (number === null ? MISSING : `${number < 10 ? number.toFixed(1) : group(number)} ms`);
  const two = (number) => String(number).padStart(2, '0');
  const clock = (seconds) => {
    const at = new Date(seconds * 1000);
    const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
    return `${day} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  };
  const span = (seconds) => {
    const whole = Math.max(0, Math.floor(seconds));
    const units = [[86400, 'day'], [3600, 'hour'], [60, 'minute'], [1, 'second']];
    const [size, name] = units.find(([size]) => whole >= size) || units[3];
    const count = Math.floor(whole / size);
    return `${count} ${count === 1 ? name : PLURALS[name]}`;
  };
  const sum = (items, number) => items.reduce((total, item) => total + number(item), 0);
  const colour = (item) => (item.colour === 'green' ? ['good', 'reachable'] : ['bad', 'unreachable']);
  const state = (endpoint) => {
    const [tone, words] = STATES[endpoint.state] || ['', endpoint.state];
    const left = endpoint.blocked_for;
    if (left !== null) return [tone, `${words}, ${left < 120 ? `${Math.ceil(left)} s` : span(left)} left`];
    return endpoint.suspect ? ['warn', `${words}, suspect`] : [tone, words];
  };
  // An XSP that is out has been so since its first failure, not since the latest one.
  const since = (endpoint, now) => {
    const at = endpoint.out_since ?? (endpoint.state === 'up' ? null : endpoint.since);
    if (at === null) return MISSING;
    const [today, moment] = [clock(now), clock(at)].map((text) => text.split(' '));
    return `${moment[0] === today[0] ? moment[1] : moment.join(' ')}, ${span(now - at)}`;
  };
  // A revocation list or OCSP response is meant to be replaced soon, and does little harm if it is not, unless told otherwise.
  const isList = (certificate) => / (crl|ocsp)$/.test(certificate.section);
  const days = (certificate) => {
    const count = Math.floor(certificate.days);
    if (certificate.state === 'not-yet-valid') return ['bad', 'not valid yet'];
    const over = `for ${span(-certificate.days * 86400)}`;
    if (certificate.state === 'expired') return isList(certificate) ? ['warn', `overdue ${over}`] : ['bad', `expired ${over}`];
    const tone = count < 30 && !isList(certificate) ? 'warn' : 'good';
    return [tone, `${group(count)} ${count === 1 ? 'day' : 'days'}`];
  };
  // Sections that show a certificate that is not valid, or that have no CA that is. An old CA beside its successor is none.
  const lapsed = (certificates) => {
    const valid = new Map();
    for (const one of certificates.filter((one) => !isList(one))) {
      const good = one.state === 'valid' || one.state === 'ends-soon';
      const before = valid.get(one.section);
      const together = one.section.startsWith('trust.') ? before || good : (before ?? true) && good;
      valid.set(one.section, together);
    }
    return [...valid].filter(([, good]) => !good).map(([section]) => section);
  };

  const showHead = (status) => {
    const down = status.farms.filter((farm) => !farm.retired && farm.colour !== 'green').map((farm) => farm.name);
    const ready = down.length > 0 ? ['bad', 'no XSP up'] : ['good', 'ready'];
    const [good, words] = status.ready ? ready : ['bad', `not ready: ${status.unready}`];
    write(byId('version'), status.version);
    paint(byId('ready'), `badge ${good}`);
    write(byId('ready'), status.phase === 'running' ? words : `${words} (${status.phase})`);
    byId('ready').title = down.length > 0 ? `farms without an XSP that is up: ${down.join(', ')}` : '';
    const older = status.processes.slice(1).map((one) => `; process ${one.pid} (${one.phase}) has ${one.channels} event channels and ${one.cti + one.passthrough} other connections`
      + (one.ends === null ? '' : ` for ${span(Math.max(0, one.ends - status.time))} at most`)
      + (one.heard > 5 ? `, as of ${span(one.heard)} ago` : ''));
    write(byId('since'), `process ${status.pid} runs for ${span(status.time - status.started)}${older.join('')}`);
    const red = sum(status.hosts, (host) => host.interfaces.filter((one) => one.colour !== 'green').length);
    document.title = red > 0 || down.length > 0 || !status.ready ? `! xspgate` : 'xspgate';
    const trouble = [];
    const { configuration_refused: config, certificates_refused: files, last } = status.reload;
    const still = status.threads.filter((thread) => !thread.moves).map((thread) => thread.name);
    if (still.length > 0) trouble.push(`Threads that do not move: ${still.join(', ')}.`);
    if (config) trouble.push('The configuration on disk can’t be used; the previous one is in use.');
    if (files) trouble.push('Certificates, keys or CAs on disk can’t be used; the previous ones are in use.');
    if (trouble.length > 0 && last !== null && last.text) trouble.push(last.text);
    const over = lapsed(status.certificates);
    if (over.length > 0) trouble.push(`Expired, or not valid yet, but still in use: ${over.join(', ')}.`);
    byId('trouble').hidden = trouble.length === 0;
    write(byId('trouble'), trouble.join('\n'));
  };

  const showTiles = (status) => {
    const endpoints = status.farms.flatMap((farm) => farm.endpoints);
    const up = endpoints.filter((endpoint) => endpoint.state === 'up').length;
    const soonest = status.certificates[0];
    const tiles = [
      ['XSPs up', `${up} of ${endpoints.length}`],
      ['requests a second', rate(sum(status.farms, (farm) => farm.traffic.rate))],
      ['errors a second', rate(sum(status.farms, (farm) => farm.traffic.error_rate))],
      ['event channels', group(sum(status.farms, (farm) => farm.channels.open))],
      ['CTI and pass-through', group(sum(status.farms, (farm) => farm.streams))],
      ['days to the next expiry', soonest ? group(Math.floor(soonest.days)) : MISSING],
    ];
    const tile = ([name]) => {
      const node = make('div');
      node.append(make('dt', '', name), make('dd'));
      return node;
    };
    list(byId('tiles'), tiles, ([name]) => name, tile, (node, [, value]) => write(node.lastChild, value));
  };

  const showHosts = (hosts) => {
    const card = (host) => {
      const node = make('div', 'card');
      node.append(make('h3', '', host.host), make('ul'));
      return node;
    };
    const line = () => {
      const node = make('li');
      node.append(make('span'), make('span'));
      return node;
    };
    list(byId('host-list'), hosts, (host) => host.host, card, (node, host) => {
      list(node.lastChild, host.interfaces, (one) => `${one.interface} ${one.farm}`, line, (row, one) => {
        write(row.firstChild, INTERFACES[one.interface] || one.interface);
        row.title = `farm ${one.farm}`;
        badge(row.lastChild, ...colour(one));
      });
    });
  };

  const showFarms = (farms, now) => {
    const columns = [
      ['XSP', (one) => (one.target === null ? one.endpoint : `${one.endpoint} ${one.target}`)],
      ['site', (one) => one.site],
      ['state', state, 'wide'],
      ['since', (one) => since(one, now)],
      ['requests/s', (one) => rate(one.traffic.rate), 'number'],
      ['errors/s', (one) => rate(one.traffic.error_rate), 'number'],
      ['mean', (one) => milliseconds(one.traffic.mean_ms), 'number'],
      ['95 %', (one) => milliseconds(one.traffic.p95_ms), 'number'],
      ['channels', (one) => group(one.channels), 'number'],
      ['streams', (one) => group(one.streams), 'number'],
      ['idle', (one) => group(one.idle), 'number'],
    ];
    const create = (farm) => {
      const node = make('div', 'farm');
      const head = make('div', 'farm-head');
      head.append(make('h3', '', farm.name), make('span'));
      const rows = make('div', 'scroll');
      rows.setAttribute('role', 'region');
      rows.setAttribute('aria-label', `XSPs of ${farm.name}`);
      node.append(head, make('ul', 'sites'), make('p', 'facts'), rows);
      return node;
    };
    list(byId('farm-list'), farms, (farm) => farm.name, create, (node, farm) => {
      const [head, sites, facts, rows] = node.children;
      list(sites, farm.sites, (site) => site.name, () => make('li'), (item, site) => {
        badge(item, site.colour === 'green' ? 'good' : 'bad', `${site.name}: ${site.up} of ${site.known} up`);
      });
      // A long list scrolls by itself, also by keys.
      rows.classList.toggle('tall', farm.endpoints.length > TALL);
      rows.tabIndex = farm.endpoints.length > TALL ? 0 : -1;
      badge(head.lastChild, ...(farm.retired ? ['warn', 'no longer in the configuration'] : colour(farm)));
      const { traffic, sessions, channels, heartbeats } = farm;
      const words = [
        `${rate(traffic.rate)} requests and ${rate(traffic.error_rate)} errors a second`,
        `mean ${milliseconds(traffic.mean_ms)}, 95 % within ${milliseconds(traffic.p95_ms)}`,
      ];
      const all = (counts) => sum(Object.values(counts), (count) => count);
      if (all(sessions) > 0) {
        words.push(`sessions: ${group(sessions.new)} new, ${group(sessions.kept)} kept, ${group(sessions.moved)} moved`);
        words.push(`event channels: ${group(channels.open)} open, ${group(all(channels.closed))} closed, ${group(channels.closed.lost)} of them lost`);
        words.push(`heartbeats: ${group(heartbeats.taken)} of ${group(all(heartbeats))} taken`);
      }
      if (farm.streams > 0) words.push(`connections: ${group(farm.streams)}`);
      write(facts, words.join(' · '));
      table(rows, columns, farm.endpoints, (one) => one.endpoint, 'No XSP is known.', (one) => one.state);
    });
  };

  const showTables = (status) => {
    const streams = [
      ['listener', (one) => one.listener],
      ['serves', (one) => (one.kind === 'cti' ? 'CTI' : `pass-through for ${one.host}`)],
      ['state', colour],
      ['farm', (one) => one.farm],
      ['connections', (one) => group(one.open), 'number'],
    ];
    table(byId('stream-table'), streams, status.streams, (one) => `${one.listener} ${one.host}`, 'Neither is served.');
    const certificates = [
      ['section', (one) => one.section],
      ['left', days],
      ['subject', (one) => one.subject, 'wide'],
      ['valid from', (one) => (one.begins === null ? MISSING : clock(one.begins))],
      ['expires', (one) => clock(one.expires)],
    ];
    table(byId('certificate-table'), certificates, status.certificates, (one) => `${one.section} ${one.serial} ${one.subject}`, 'None is used.');
    const keys = status.affinity_keys.map((one) => `${one.fingerprint} ${one.use === 'signs' ? 'signs' : 'is accepted'}`);
    write(byId('affinity-keys'), keys.length > 0 ? `affinity keys, the same on all gateways: ${keys.join(', ')}` : '');
    const names = [
      ['name', (one) => one.name],
      ['type', (one) => one.type],
      ['records', (one) => group(one.records), 'number'],
      ['last answer', (one) => (one.age === null ? 'never' : `${span(one.age)} ago`)],
      ['newest look-up', (one) => (one.outcome === null ? MISSING : [one.outcome === 'answered' ? 'good' : 'bad', one.outcome])],
    ];
    table(byId('name-table'), names, status.discovery, (one) => `${one.name} ${one.type}`, 'No name is followed.');
    const listeners = [
      ['address', (one) => one.address],
      ['open connections', (one) => group(one.open), 'number'],
      ['accepted', (one) => group(one.accepted), 'number'],
      ['rejected', (one) => group(one.refused), 'number'],
    ];
    table(byId('listener-table'), listeners, status.listeners, (one) => one.address, 'None.');
  };

  const showEvents = (events) => {
    const tone = (kind) => (BAD.has(kind) ? 'bad' : WARN.has(kind) ? 'warn' : GOOD.has(kind) ? 'good' : '');
    const create = (event) => {
      const node = make('li');
      const time = make('time', '', clock(event.time));
      time.dateTime = new Date(event.time * 1000).toISOString();
      const where = [event.farm, event.endpoint].filter((part) => part !== null).join(' ');
      const kind = make('span', `badge ${tone(event.kind)}`, event.kind.replaceAll('-', ' '));
      const what = make('span', 'what');
      what.append(make('span', 'where', where && `${where}  `), event.text);
      node.append(time, kind, what);
      return node;
    };
    const key = (event) => `${event.time} ${event.kind} ${event.farm} ${event.endpoint}`;
    list(byId('event-list'), events, key, create, () => {});
  };

  let paused = false;
  let heard = 0;

  const show = (status) => {
    heard = Date.now();
    document.body.classList.remove('stale');
    if (paused) return;
    write(byId('live'), `as of ${clock(status.time).slice(11)}`);
    showHead(status);
    showTiles(status);
    showHosts(status.hosts);
    showFarms(status.farms, status.time);
    showTables(status);
    showEvents(status.events);
  };

  const lost = () => {
    document.body.classList.add('stale');
    paint(byId('ready'), 'badge warn');
    write(byId('ready'), 'stale');
    if (!paused) write(byId('live'), 'connection lost, trying again');
  };

  // Where no seat is left for one who watches, asking now and then has to do.
  const poll = () => {
    fetch('status', { cache: 'no-store' })
      .then((answer) => (answer.ok ? answer.json() : Promise.reject(new Error(String(answer.status)))))
      .then(show)
      .catch(lost)
      .finally(() => setTimeout(watch, POLL));
  };

  const watch = () => {
    const source = new EventSource('events');
    source.onmessage = (message) => show(JSON.parse(message.data));
    source.onerror = () => {
      // It comes back by itself unless it was rejected.
      if (source.readyState === EventSource.CLOSED) poll();
    };
  };

  byId('pause').addEventListener('click', () => {
    paused = !paused;
    byId('pause').setAttribute('aria-pressed', String(paused));
    write(byId('pause'), paused ? 'Go on' : 'Pause');
    if (paused) write(byId('live'), `paused, ${byId('live').textContent}`);
  });
  byId('only').addEventListener('change', () => byId('farms').classList.toggle('only', byId('only').checked));

  show(JSON.parse(byId('status').textContent));
  setInterval(() => Date.now() - heard > SILENCE && lost(), 1000);
  watch();
})();
