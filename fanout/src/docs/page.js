// Shows the description of the API, and sends the calls that it describes.
'use strict';

const make = (name, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};

/** Follows a reference of the description to what it stands for. */
const resolve = (api, schema) => {
  if (!schema?.$ref) return schema ?? {};
  const target = schema.$ref.slice(2).split('/').reduce((at, key) => at?.[key], api);
  return { ...resolve(api, target), ...(schema.description && { description: schema.description }) };
};

/** A value that fits a schema: its example, or the simplest one. */
const example = (api, reference, depth = 0) => {
  const schema = resolve(api, reference);
  if (schema.example !== undefined) return schema.example;
  if (schema.examples?.length) return schema.examples[0];
  if (schema.enum) return schema.enum[0];
  const choice = (schema.oneOf ?? schema.anyOf)?.find((one) => one.type !== 'null');
  if (choice) return example(api, choice, depth);
  const type = [schema.type].flat()[0];
  if (depth > 8) return null;
  if (type === 'array') return [example(api, schema.items, depth + 1)];
  if (type === 'object') {
    const properties = Object.entries(schema.properties ?? {});
    const required = properties.filter(([name]) => schema.required?.includes(name));
    return Object.fromEntries(required.map(([name, value]) => [name, example(api, value, depth + 1)]));
  }
  return { string: 'text', integer: schema.minimum ?? 0, number: 0, boolean: false }[type] ?? {};
};

const typeOf = (api, reference) => {
  const schema = resolve(api, reference);
  if (schema.oneOf) return schema.oneOf.map((one) => typeOf(api, one)).join(' or ');
  if (schema.type === 'object') return `{${Object.keys(schema.properties ?? {}).join(', ')}}`;
  if (schema.type === 'array') return `list of ${typeOf(api, schema.items)}`;
  return [schema.type ?? 'any'].flat().filter((type) => type !== 'null').join(' or ');
};

const table = (caption, heads, rows) =>
  make('table', {},
    make('caption', { className: 'hint', textContent: caption }),
    make('thead', {}, make('tr', {}, ...heads.map((head) => make('th', { scope: 'col', textContent: head })))),
    make('tbody', {}, ...rows.map((row) => make('tr', {}, ...row.map((text) => make('td', { textContent: text ?? '' }))))));

/** The fields of a body, one level deep. */
const fields = (api, body) => {
  const schema = resolve(api, body);
  const rows = Object.entries(schema.properties ?? {}).map(([name, value]) => [
    name + (schema.required?.includes(name) ? ' (required)' : ''),
    typeOf(api, value),
    resolve(api, value).description,
  ]);
  return table('Fields of the body', ['Field', 'Type', 'Meaning'], rows);
};

/** The same call for a terminal. The credential is left to a variable, so that it can be passed on. */
const curl = (method, url, headers, body) => {
  const quote = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
  const given = Object.entries(headers).filter(([name]) => name !== 'Authorization');
  return [
    `curl -X ${method} ${quote(url)}`,
    '-H "Authorization: Bearer $TOKEN"',
    ...given.map(([name, value]) => `-H ${quote(`${name}: ${value}`)}`),
    ...(body === undefined ? [] : [`-d ${quote(body)}`]),
  ].join(' \\\n  ');
};

const call = (api, path, method, operation) => {
  const id = operation.operationId;
  const schema = operation.requestBody?.content?.['application/json']?.schema;
  const inputs = (operation.parameters ?? []).map((parameter) => ({
    parameter,
    input: make('input', { id: `${id}-${parameter.name}`, placeholder: parameter.example ?? '', spellcheck: false }),
  }));
  const body = schema && make('textarea', {
    id: `${id}-body`, rows: 10, spellcheck: false, value: JSON.stringify(example(api, schema), null, 2),
  });
  const answer = make('pre', { tabIndex: 0, hidden: true, ariaLabel: 'Answer' });
  const status = make('p', { role: 'status' });
  const line = make('pre', { tabIndex: 0, hidden: true, ariaLabel: 'The same call with curl' });

  const request = () => {
    const headers = { Authorization: `Bearer ${document.querySelector('#token').value}` };
    if (body) headers['Content-Type'] = 'application/json';
    let target = path;
    const query = new URLSearchParams();
    for (const { parameter, input } of inputs.filter(({ input }) => input.value)) {
      if (parameter.in === 'header') headers[parameter.name] = input.value;
      if (parameter.in === 'path') target = target.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
      if (parameter.in === 'query') query.set(parameter.name, input.value);
    }
    const url = new URL(target.slice(1) + (query.size ? `?${query}` : ''), document.baseURI);
    return [method.toUpperCase(), url.href, headers, body?.value];
  };

  const form = make('form', {},
    ...inputs.flatMap(({ parameter, input }) => [
      make('label', { htmlFor: input.id, textContent: `${parameter.name} (${parameter.in})` }),
      make('p', { className: 'hint', textContent: parameter.description ?? '' }),
      input,
    ]),
    ...(body ? [make('label', { htmlFor: body.id, textContent: 'Body' }), body] : []),
    make('button', { textContent: 'Send' }),
    make('button', {
      type: 'button', textContent: 'Show as curl',
      onclick: () => { line.hidden = false; line.textContent = curl(...request()); },
    }));
  form.onsubmit = async (event) => {
    event.preventDefault();
    const [verb, url, headers, text] = request();
    status.textContent = 'Sending…';
    const started = performance.now();
    try {
      const response = await fetch(url, { method: verb, headers, body: text });
      const answered = await response.text();
      const after = response.headers.get('retry-after');
      status.textContent = `${response.status} ${response.statusText}, ${Math.round(performance.now() - started)} ms`
        + (after ? `, retry after ${after} s` : '');
      try { answer.textContent = JSON.stringify(JSON.parse(answered), null, 2); } catch { answer.textContent = answered; }
    } catch (error) {
      status.textContent = 'No answer';
      answer.textContent = String(error);
    }
    answer.hidden = false;
  };

  const answers = Object.entries(operation.responses).map(([code, response]) => [code, response.description]);
  return make('section', { ariaLabel: `${method.toUpperCase()} ${path}` },
    make('h2', {}, make('code', { textContent: `${method.toUpperCase()} ${path}` })),
    make('p', {}, make('strong', { textContent: operation.summary ?? '' })),
    make('p', { textContent: operation.description ?? '' }),
    ...(schema ? [make('details', {}, make('summary', { textContent: 'Fields' }), fields(api, schema))] : []),
    make('details', {}, make('summary', { textContent: 'Answers' }), table('Answers', ['Status', 'When'], answers)),
    form, line, status, answer);
};

const show = async () => {
  const calls = document.querySelector('#calls');
  try {
    const api = await (await fetch('openapi.json')).json();
    document.querySelector('#title').textContent = `${api.info.title} ${api.info.version}`;
    document.querySelector('#about').textContent = api.info.description ?? '';
    calls.replaceChildren(...Object.entries(api.paths).flatMap(([path, item]) =>
      ['get', 'put', 'post', 'delete', 'patch']
        .filter((method) => item[method])
        .map((method) => call(api, path, method, item[method]))));
  } catch (error) {
    calls.replaceChildren(make('p', { role: 'alert', textContent: `The description could not be read: ${error}` }));
  }
};

show();
