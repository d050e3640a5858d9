'use strict';
// google.rpc.Status of a failed call, read from the trailer's bytes alone.

function fields(buffer) {
  const found = new Map();
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = buffer[at++];
      if (byte === undefined) throw new Error('a varint is cut short');
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return Number(value);
    }
  };
  while (at < buffer.length) {
    const tag = varint();
    let value;
    if ((tag & 7) === 0) {
      value = varint();
    } else if ((tag & 7) === 2) {
      const size = varint();
      value = buffer.subarray(at, at + size);
      at += size;
      if (value.length !== size) throw new Error('a field is cut short');
    } else {
      throw new Error(`wire type ${tag & 7}`);
    }
    found.set(tag >>> 3, [...(found.get(tag >>> 3) ?? []), value]);
  }
  return found;
}

const text = (found, number) => (found.get(number)?.[0] ?? '').toString();

function detailsOf(error) {
  const [raw] = error.metadata.get('grpc-status-details-bin');
  if (raw === undefined) return undefined;
  const status = fields(raw);
  const details = { code: status.get(1)?.[0] ?? 0, message: text(status, 2), metadata: {} };
  for (const any of status.get(3) ?? []) {
    const kind = text(fields(any), 1).split('/').pop();
    const value = fields(fields(any).get(2)?.[0] ?? Buffer.alloc(0));
    if (kind === 'google.rpc.ErrorInfo') {
      details.reason = text(value, 1);
      details.domain = text(value, 2);
      for (const pair of value.get(3) ?? []) details.metadata[text(fields(pair), 1)] = text(fields(pair), 2);
    } else if (kind === 'google.rpc.BadRequest') {
      details.field = text(fields(value.get(1)[0]), 1);
    } else if (kind !== 'google.rpc.RetryInfo') {
      throw new Error(`a detail of type ${kind}`);
    }
  }
  return details;
}

module.exports = { detailsOf };
