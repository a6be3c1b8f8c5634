// Waiting for something to come true, without guessing how long it takes.

// With a slow, shared machine in mind: a test that has to wait this long has failed.
export const PATIENCE = 20_000;

const STEP = 20;

// Asks again and again until `ask` answers something true, and returns that. An error counts as "not yet".
export async function eventually(what, ask, patience = PATIENCE) {
  const deadline = Date.now() + patience;
  let last;
  do {
    try {
      last = await ask();
      if (last) return last;
    } catch (error) {
      last = error;
    }
    await new Promise((resolve) => setTimeout(resolve, STEP));
  } while (Date.now() < deadline);
  const seen = last instanceof Error ? last.message : JSON.stringify(last);
  throw new Error(`not within ${patience} ms: ${what}; last seen: ${seen}`);
}

// Rejects when a promise takes too long.
export async function within(what, promise, patience = PATIENCE) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${patience} ms: ${what}`)), patience);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
