// Tokens as an application's backend would make them.

import { createHmac } from 'node:crypto';

export const SECRET = 'a-secret-of-the-tests-that-is-long-enough-for-all';

const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

export function sign(claims, secret = SECRET) {
  const now = Math.floor(Date.now() / 1000);
  const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ exp: now + 3600, ...claims })}`;
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
}

// A client's token: may join every room.
export const tokenOf = (user, claims = {}) => sign({ sub: user, name: user.toUpperCase(), rooms: ['*'], ...claims });

// A backend's token: may publish.
export const backendToken = () => sign({ sub: 'backend', scope: 'publish' });
