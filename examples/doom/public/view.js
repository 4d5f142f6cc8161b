// The arena as somebody in it sees it: a ray a column for walls, a row at a time for floor and ceiling, figures by distance. No library.
import {figure, floor, kit, SIZE, walls, weapon} from '/art.js';
import {at} from '/walk.js';

const FIELD = 0.66, FOG = 34;
const canvas = document.getElementById('view'), pen = canvas.getContext('2d', {alpha: false});
let width = 0, height = 0, image, pixels, depth;

function size() {
  const scale = Math.max(1, Math.round(Math.sqrt((innerWidth * innerHeight) / 150_000)));
  width = canvas.width = Math.max(160, Math.ceil(innerWidth / scale));
  height = canvas.height = Math.max(120, Math.ceil(innerHeight / scale));
  image = pen.createImageData(width, height);
  pixels = new Uint32Array(image.data.buffer);
  depth = new Float32Array(width);
}
addEventListener('resize', size);
size();

const dim = (color, by) => 0xff000000 | ((color >> 16 & 255) * by) << 16 | ((color >> 8 & 255) * by) << 8 | (color & 255) * by;
const light = (far) => 0.1 + 0.9 / (1 + (far * far) / FOG);

function floors(x, y, cos, sin, field) {
  const middle = height >> 1, eye = height / 2;
  for (let row = middle; row < height; row++) {
    const far = eye / (row - middle + 0.5), shade = light(far);
    let u = x + far * (cos + sin * field), v = y + far * (sin - cos * field);
    const du = (-2 * far * sin * field) / width, dv = (2 * far * cos * field) / width, above = (height - 1 - row) * width;
    for (let column = 0, here = row * width; column < width; column++, here++, u += du, v += dv) {
      pixels[here] = dim(floor.pixels[((v * SIZE) & 63) * SIZE + ((u * SIZE) & 63)], shade);
      const lamp = (((u * 8) & 15) > 5 && ((u * 8) & 15) < 10 && ((v * 8) & 15) === 7);
      pixels[above + column] = lamp ? dim(0xffc8e6ff, Math.min(1, shade * 1.6)) : dim(0xff3a2b2a, shade);
    }
  }
}

function wallsOf(x, y, cos, sin, field) {
  for (let column = 0; column < width; column++) {
    const side = ((2 * column) / width - 1) * field, dx = cos - sin * side, dy = sin + cos * side;
    let cx = Math.floor(x), cy = Math.floor(y), far = 0, vertical = false;
    const ex = Math.abs(1 / dx), ey = Math.abs(1 / dy), sx = dx > 0 ? 1 : -1, sy = dy > 0 ? 1 : -1;
    let nx = (dx > 0 ? cx + 1 - x : x - cx) * ex, ny = (dy > 0 ? cy + 1 - y : y - cy) * ey;
    do {
      vertical = nx < ny;
      if (vertical) { far = nx; nx += ex; cx += sx; } else { far = ny; ny += ey; cy += sy; }
    } while (at(cx, cy) === '.');
    depth[column] = far;
    const where = vertical ? y + far * dy : x + far * dx, u = Math.floor((where - Math.floor(where)) * SIZE);
    const texture = (walls[at(cx, cy)] ?? walls.a).pixels, tall = height / far, shade = light(far) * (vertical ? 1 : 0.75);
    const top = (height - tall) / 2, from = Math.max(0, Math.ceil(top)), to = Math.min(height, Math.ceil(top + tall));
    for (let row = from; row < to; row++) pixels[row * width + column] = dim(texture[Math.floor(((row - top) / tall) * SIZE) * SIZE + u], shade);
  }
}

function sprites(x, y, cos, sin, field, things) {
  for (const thing of things) {
    const dx = thing.x - x, dy = thing.y - y;
    thing.far = dx * cos + dy * sin;
    thing.side = dy * cos - dx * sin;
  }
  for (const {far, side, art, scale, glow} of things.filter((thing) => thing.far > 0.25).sort((one, other) => other.far - one.far)) {
    const tall = (height / far) * scale, center = (width / 2) * (1 + side / far / field), ground = height / 2 + height / far / 2;
    const left = center - tall / 2, top = ground - tall, shade = Math.min(1, light(far) + glow);
    for (let column = Math.max(0, Math.ceil(left)); column < Math.min(width, left + tall); column++) {
      if (depth[column] < far) continue;
      const u = Math.floor(((column - left) / tall) * art.width);
      for (let row = Math.max(0, Math.ceil(top)); row < Math.min(height, top + tall); row++) {
        const color = art.pixels[Math.floor(((row - top) / tall) * art.height) * art.width + u];
        if (color >>> 24 > 127) pixels[row * width + column] = dim(color, shade);
      }
    }
  }
}

// `me`: {x, y, angle, kick}; `others`: [{x, y, angle, hue, state}]; `kits`: [[x, y]].
export function draw(me, others, kits) {
  const cos = Math.cos(me.angle), sin = Math.sin(me.angle), field = FIELD * Math.min(1.2, Math.max(0.62, width / height / 1.6));
  floors(me.x, me.y, cos, sin, field);
  wallsOf(me.x, me.y, cos, sin, field);
  const things = kits.map(([x, y]) => ({x, y, art: kit, scale: 0.3, glow: 0.25}));
  for (const {x, y, angle, hue, state} of others) {
    const seen = Math.abs(Math.atan2(Math.sin(angle - Math.atan2(me.y - y, me.x - x)), Math.cos(angle - Math.atan2(me.y - y, me.x - x))));
    things.push({x, y, art: figure(hue, seen < 0.8 ? 0 : seen < 2.3 ? 1 : 2, state), scale: 0.78, glow: state === 'fire' ? 0.6 : 0.12});
  }
  sprites(me.x, me.y, cos, sin, field, things);
  pen.putImageData(image, 0, 0);
  weapon(pen, width, height, me.kick, me.kick > 0.6);
}

export function map(canvas, rows, me, others) {
  const pen = canvas.getContext('2d'), cell = canvas.width / rows.length;
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.fillStyle = '#8d87a3';
  rows.forEach((row, y) => [...row].forEach((what, x) => { if (what !== '.') pen.fillRect(x * cell, y * cell, cell, cell); }));
  for (const {x, y, hue, state} of others) {
    if (state === 'down') continue;
    pen.fillStyle = `hsl(${hue} 80% 62%)`;
    pen.fillRect(x * cell - 2, y * cell - 2, 5, 5);
  }
  pen.fillStyle = '#fff';
  pen.beginPath();
  for (const [turn, long] of [[0, 6], [2.5, 4], [-2.5, 4]]) pen.lineTo(me.x * cell + Math.cos(me.angle + turn) * long, me.y * cell + Math.sin(me.angle + turn) * long);
  pen.fill();
}
