// HTTP as a backend speaks it that wants its message to be stored.

import { randomUUID } from 'node:crypto';

const TIMES = 20;

// Posts JSON; and again, under the same key or the message's own id, while the answer is that it could not be stored in time.
export async function post(url, token, body) {
  const key = body.id === undefined ? { 'Idempotency-Key': randomUUID() } : {};
  for (let time = 1; ; time += 1) {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${token}`, ...key },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(10_000),
    });
    if (response.status !== 503 || time === TIMES) return response;
    await response.body?.cancel();
  }
}
