// Runs checks one after another and prints a line for each, which tests/run counts.

/** Runs an object of named functions; the process ends with code 1 if one failed or took too long. */
export async function run(checks) {
  let failed = 0;
  for (const [name, check] of Object.entries(checks)) {
    const began = Date.now();
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error('it takes more than a minute')), 60000);
    });
    try {
      await Promise.race([check(), late]);
      console.log(`passed: ${name} (${Date.now() - began} ms)`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED: ${name}\n${error.stack}`);
    }
    clearTimeout(timer);
  }
  process.exit(failed ? 1 : 0);
}
