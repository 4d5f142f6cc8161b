// A QR code as SVG: bytes, versions 1 to 5 at error level L, mask 0. Enough for an address of 106 bytes.
const CAPACITY = [17, 32, 53, 78, 106], CHECKS = [7, 10, 15, 20, 26];

const EXP = [], LOG = [];              // of GF(256) with x^8 + x^4 + x^3 + x^2 + 1
for (let power = 0, value = 1; power < 255; power++) {
  EXP[power] = EXP[power + 255] = value;
  LOG[value] = power;
  value = value << 1 ^ (value & 128 ? 0x11d : 0);
}

function checks(data, count) {         // Reed–Solomon: the rest of a division by (x - 1)(x - 2)(x - 4)…
  let divisor = [1];
  for (let root = 0; root < count; root++) {
    const next = [...divisor, 0];
    divisor.forEach((value, at) => { if (value) next[at + 1] ^= EXP[LOG[value] + root]; });
    divisor = next;
  }
  const rest = [...data, ...Array(count).fill(0)];
  data.forEach((_, at) => {
    const lead = rest[at];
    if (lead) divisor.forEach((value, offset) => { if (value) rest[at + offset] ^= EXP[LOG[value] + LOG[lead]]; });
  });
  return rest.slice(data.length);
}

function words(bytes, version) {
  const bits = [];
  const put = (value, length) => { for (let bit = length - 1; bit >= 0; bit--) bits.push(value >> bit & 1); };
  put(4, 4);                           // bytes
  put(bytes.length, 8);
  bytes.forEach((byte) => put(byte, 8));
  put(0, 4);
  const data = [];
  for (let at = 0; at < bits.length; at += 8) data.push(parseInt(bits.slice(at, at + 8).join('').padEnd(8, '0'), 2));
  const room = CAPACITY[version - 1] + 2;
  for (let pad = 0xec; data.length < room; pad ^= 0xec ^ 0x11) data.push(pad);
  return [...data, ...checks(data, CHECKS[version - 1])];
}

export function matrix(text) {
  const bytes = [...new TextEncoder().encode(text)];
  const version = 1 + CAPACITY.findIndex((most) => bytes.length <= most), side = 17 + 4 * version;
  if (!version) return null;           // too long
  const dark = Array.from({length: side}, () => Array(side).fill(null));
  const set = (row, column, value) => { if (row >= 0 && column >= 0 && row < side && column < side) dark[row][column] = value; };
  for (const [top, left] of [[0, 0], [0, side - 7], [side - 7, 0]])
    for (let row = -1; row < 8; row++)
      for (let column = -1; column < 8; column++) {
        const ring = Math.max(Math.abs(row - 3), Math.abs(column - 3));
        set(top + row, left + column, ring !== 2 && ring !== 4 ? 1 : 0);
      }
  if (version > 1)
    for (let row = -2; row < 3; row++)
      for (let column = -2; column < 3; column++) set(side - 7 + row, side - 7 + column, Math.max(Math.abs(row), Math.abs(column)) !== 1 ? 1 : 0);
  for (let at = 8; at < side - 8; at++) dark[6][at] = dark[at][6] = 1 - at % 2;
  const format = 0b111011111000100;    // level L, mask 0
  for (let bit = 0; bit < 15; bit++) {
    const value = format >> bit & 1;
    set(bit < 6 ? bit : bit < 8 ? bit + 1 : side - 15 + bit, 8, value);
    set(8, bit < 8 ? side - 1 - bit : bit < 9 ? 7 : 14 - bit, value);
  }
  set(side - 8, 8, 1);
  const bits = words(bytes, version).flatMap((word) => [7, 6, 5, 4, 3, 2, 1, 0].map((bit) => word >> bit & 1));
  let at = 0, up = true;
  for (let right = side - 1; right > 0; right -= 2, up = !up) {
    if (right === 6) right = 5;
    for (let step = 0; step < side; step++)
      for (const column of [right, right - 1]) {
        const row = up ? side - 1 - step : step;
        if (dark[row][column] === null) dark[row][column] = (bits[at++] ?? 0) ^ ((row + column) % 2 === 0 ? 1 : 0);
      }
  }
  return dark;
}

export function svg(text) {
  const dark = matrix(text);
  if (!dark) return '';
  const side = dark.length + 8;        // a quiet border of four
  const path = dark.flatMap((line, row) => line.map((value, column) => value ? `M${column + 4} ${row + 4}h1v1h-1z` : '')).join('');
  return `<svg viewBox="0 0 ${side} ${side}" shape-rendering="crispEdges" role="img" aria-label="QR code of the link"><rect width="${side}" height="${side}" fill="#fff"/><path d="${path}" fill="#111"/></svg>`;
}
