// Runs checks one after another and prints a line for each, which tests/run counts.

/** How many checks of a suite may fail and be run a second time at once: a machine that gives none of its cores for seconds
 *  makes times too short that are not what is tested. What fails twice has failed. */
const SECOND_CHANCES = 2;

/** Runs a check; why it failed, or nothing. It fails as well if it takes more than a minute. */
async function failure(check) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error('it takes more than a minute')), 60000);
  });
  try {
    await Promise.race([check(), late]);
    return undefined;
  } catch (error) {
    return error;
  } finally {
    clearTimeout(timer);
  }
}

/** Runs an object of named functions; the process ends with code 1 if one has failed. */
export async function run(checks) {
  let chances = SECOND_CHANCES;
  let lost = false;
  for (const [name, check] of Object.entries(checks)) {
    const began = Date.now();
    let error = await failure(check);
    if (error) {
      console.log(`FAILED: ${name}\n${error.stack}`);
      if (chances > 0) {
        chances -= 1;
        error = await failure(check);
        console.log(error ? `again: ${error.stack}` : `passed alone: ${name}`);
      }
    }
    lost ||= Boolean(error);
    if (!error) console.log(`passed: ${name} (${Date.now() - began} ms)`);
  }
  process.exit(lost ? 1 : 0);
}
