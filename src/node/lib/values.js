// The arguments of events: JSON, and bytes beside it, as Socket.IO's own protocol has them.
'use strict';

const { isAnyArrayBuffer, isArrayBufferView } = require('node:util/types');

/**
 * Writes arguments: their JSON, and the bytes that stand in it, as Buffers, or null if there are none. What JSON does with
 * undefined, dates and functions, this does.
 */
function encode(args) {
  if (!args.some(mayHaveBytes) || !hasBytes(args)) return { json: JSON.stringify(args), values: null };
  const values = [];
  return { json: JSON.stringify(taken(args, values)), values };
}

/** Puts the bytes of `values` where `value` has placeholders. */
function revive(value, values) {
  if (value === null || typeof value !== 'object') return value;
  if (value._placeholder === true) {
    const bytes = typeof value.num === 'number' ? values[value.num] : undefined;
    if (bytes === undefined) throw new Error('illegal attachments');
    return bytes;
  }
  for (const key of Object.keys(value)) value[key] = revive(value[key], values);
  return value;
}

function mayHaveBytes(value) {
  return typeof value === 'object' && value !== null;
}

function isBytes(value) {
  return isAnyArrayBuffer(value) || isArrayBufferView(value);
}

function hasBytes(value, isOwn) {
  if (value === null || typeof value !== 'object') return false;
  if (Array.isArray(value)) return value.some((one) => hasBytes(one));
  if (isBytes(value)) return true;
  if (!isOwn && typeof value.toJSON === 'function') return hasBytes(value.toJSON(), true);
  for (const key in value) {
    if (Object.prototype.hasOwnProperty.call(value, key) && hasBytes(value[key])) return true;
  }
  return false;
}

/** A copy in which placeholders stand for the bytes, which are added to `values`. */
function taken(value, values, isOwn) {
  if (value === null || typeof value !== 'object') return value;
  if (isBytes(value)) {
    values.push(bufferOf(value));
    return { _placeholder: true, num: values.length - 1 };
  }
  if (Array.isArray(value)) return value.map((one) => taken(one, values));
  if (value instanceof Date) return value;
  if (!isOwn && typeof value.toJSON === 'function') return taken(value.toJSON(), values, true);
  const copy = {};
  for (const key in value) {
    if (Object.prototype.hasOwnProperty.call(value, key)) copy[key] = taken(value[key], values);
  }
  return copy;
}

function bufferOf(value) {
  if (Buffer.isBuffer(value)) return value;
  return isArrayBufferView(value) ? Buffer.from(value.buffer, value.byteOffset, value.byteLength) : Buffer.from(value);
}

module.exports = { encode, revive };
