// What register.js does for `require`, for `import`.

const OURS = new URL('./index.mjs', import.meta.url).href;

/** Where the URL of the main module is told, once. */
let main;

export function initialize(data) {
  main = data?.main;
}

export async function resolve(specifier, context, next) {
  if (context.parentURL === undefined && main !== undefined) {
    const found = await next(specifier, context);
    main?.postMessage(found.url);
    main = undefined;
    return found;
  }
  const ours = { url: OURS, format: 'module', shortCircuit: true };
  if (specifier === 'socket.io') return ours;
  if (specifier !== 'roadstead') return next(specifier, context);
  try {
    return await next(specifier, context);
  } catch (error) {
    if (error.code === 'ERR_MODULE_NOT_FOUND') return ours;
    throw error;
  }
}
