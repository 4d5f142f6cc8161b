// All that is seen, drawn here: walls of 64 × 64 as pixels, figures and things as small canvases. Nothing is loaded.
export const SIZE = 64;

function canvas(width, height, draw) {
  const made = new OffscreenCanvas(width, height), pen = made.getContext('2d', {willReadFrequently: true});
  draw(pen);
  return {width, height, pixels: new Uint32Array(pen.getImageData(0, 0, width, height).data.buffer)};
}

let seed = 7;
const noise = () => (seed = (seed * 16807) % 2147483647) / 2147483647;

function grain(pen, amount) {
  const image = pen.getImageData(0, 0, SIZE, SIZE);
  for (let at = 0; at < image.data.length; at += 4) {
    const by = (noise() - 0.5) * amount;
    for (let part = 0; part < 3; part++) image.data[at + part] += by;
  }
  pen.putImageData(image, 0, 0);
}

function bricks(base, joint, high, wide) {
  return canvas(SIZE, SIZE, (pen) => {
    pen.fillStyle = joint;
    pen.fillRect(0, 0, SIZE, SIZE);
    for (let row = 0; row * high < SIZE; row++) for (let column = -1; column * wide < SIZE; column++) {
      const x = column * wide + (row % 2) * wide / 2, y = row * high, light = 44 + noise() * 12;
      pen.fillStyle = `hsl(${base} ${light}%)`;
      pen.fillRect(x + 1, y + 1, wide - 2, high - 2);
      pen.fillStyle = '#fff3';
      pen.fillRect(x + 1, y + 1, wide - 2, 1);
      pen.fillStyle = '#0004';
      pen.fillRect(x + 1, y + high - 2, wide - 2, 1);
    }
    grain(pen, 26);
  });
}

const plates = () => canvas(SIZE, SIZE, (pen) => {
  for (const [x, y] of [[0, 0], [32, 0], [0, 32], [32, 32]]) {
    const sheen = pen.createLinearGradient(x, y, x + 32, y + 32);
    sheen.addColorStop(0, '#b0713f');
    sheen.addColorStop(1, '#74411f');
    pen.fillStyle = sheen;
    pen.fillRect(x, y, 32, 32);
    pen.strokeStyle = '#2c180b';
    pen.strokeRect(x + 0.5, y + 0.5, 31, 31);
    for (const dx of [4, 26]) for (const dy of [4, 26]) {
      pen.fillStyle = '#e2ab77';
      pen.fillRect(x + dx, y + dy, 2, 2);
      pen.fillStyle = '#2c180b';
      pen.fillRect(x + dx + 2, y + dy + 1, 1, 2);
    }
  }
  grain(pen, 30);
});

const panels = () => canvas(SIZE, SIZE, (pen) => {
  pen.fillStyle = '#2a3242';
  pen.fillRect(0, 0, SIZE, SIZE);
  pen.fillStyle = '#1a202c';
  for (let x = 0; x < SIZE; x += 16) pen.fillRect(x, 0, 2, SIZE);
  pen.fillRect(0, 30, SIZE, 4);
  grain(pen, 14);
  for (let x = 4; x < SIZE; x += 16) for (const y of [8, 16, 42, 50]) {
    pen.fillStyle = noise() > 0.35 ? '#3ff0d0' : '#12544b';
    pen.fillRect(x, y, 8, 3);
  }
});

export const walls = {a: bricks('222 22%', '#23263a', 16, 32), b: bricks('128 20%', '#1f2c22', 16, 16), c: plates(), d: panels()};
export const floor = canvas(SIZE, SIZE, (pen) => {
  pen.fillStyle = '#5a4d48';
  pen.fillRect(0, 0, SIZE, SIZE);
  pen.fillStyle = '#4d423e';
  pen.fillRect(0, 0, 32, 32);
  pen.fillRect(32, 32, 32, 32);
  pen.strokeStyle = '#2b2422';
  pen.strokeRect(0.5, 0.5, 32, 32);
  pen.strokeRect(32.5, 32.5, 32, 32);
  grain(pen, 22);
});

// A sentinel on a hovering cone. `facing`: 0 looks at you, 1 is seen from the side, 2 from behind; `state`: '', 'fire', 'hurt', 'down'.
function sentinel(hue, facing, state) {
  const tone = (light, saturation = 60) => `hsl(${hue} ${saturation}% ${light}%)`;
  return canvas(64, 64, (pen) => {
    if (state === 'down') {
      pen.fillStyle = tone(22, 30);
      pen.beginPath(); pen.ellipse(32, 57, 22, 6, 0, 0, 7); pen.fill();
      pen.fillStyle = tone(36);
      pen.beginPath(); pen.ellipse(26, 53, 12, 7, -0.3, 0, 7); pen.fill();
      pen.fillStyle = '#555b66'; pen.fillRect(38, 50, 12, 5);
      pen.fillStyle = '#ffb347'; pen.fillRect(30, 50, 3, 2);
      return;
    }
    pen.fillStyle = '#0007';
    pen.beginPath(); pen.ellipse(32, 60, 14, 3.5, 0, 0, 7); pen.fill();
    const shade = pen.createLinearGradient(14, 0, 50, 0);
    shade.addColorStop(0, tone(62)); shade.addColorStop(0.5, tone(46)); shade.addColorStop(1, tone(24));
    pen.fillStyle = '#2d313c';
    pen.beginPath(); pen.moveTo(22, 40); pen.lineTo(42, 40); pen.lineTo(36, 57); pen.lineTo(28, 57); pen.fill();
    pen.fillStyle = '#7fe9ff'; pen.fillRect(28, 56, 8, 2);
    pen.fillStyle = shade;
    pen.beginPath(); pen.roundRect(17, 21, 30, 22, 8); pen.fill();
    pen.fillStyle = tone(30);
    pen.fillRect(17, 33, 30, 2);
    pen.fillStyle = shade;
    pen.beginPath(); pen.roundRect(22, 5, 20, 17, [9, 9, 5, 5]); pen.fill();
    pen.fillStyle = '#fff5';
    pen.beginPath(); pen.ellipse(27, 9, 3, 2, -0.5, 0, 7); pen.fill();
    pen.fillStyle = '#15171d';
    if (facing === 0) { pen.beginPath(); pen.roundRect(24, 11, 16, 6, 3); pen.fill(); pen.fillStyle = '#ff5a3c'; pen.fillRect(27, 13, 4, 2); pen.fillRect(33, 13, 4, 2); }
    if (facing === 1) { pen.beginPath(); pen.roundRect(34, 11, 8, 6, 2); pen.fill(); pen.fillStyle = '#ff5a3c'; pen.fillRect(38, 13, 4, 2); }
    if (facing === 2) { pen.beginPath(); pen.roundRect(24, 24, 16, 15, 3); pen.fill(); pen.fillStyle = tone(60); pen.fillRect(27, 27, 10, 2); pen.fillRect(27, 31, 10, 2); }
    pen.fillStyle = '#454b57';
    for (const x of facing === 1 ? [28] : [10, 46]) { pen.beginPath(); pen.roundRect(x, 25, 8, 13, 3); pen.fill(); }
    pen.fillStyle = '#c9ced8';
    if (facing !== 2) pen.fillRect(facing === 1 ? 36 : 12, 30, facing === 1 ? 16 : 4, 4);
    if (state === 'fire' && facing !== 2) {
      const x = facing === 1 ? 55 : 14;
      pen.fillStyle = '#ffd36b'; pen.beginPath(); pen.arc(x, 32, 7, 0, 7); pen.fill();
      pen.fillStyle = '#fff'; pen.beginPath(); pen.arc(x, 32, 3.5, 0, 7); pen.fill();
    }
    if (state === 'hurt') {
      pen.globalCompositeOperation = 'source-atop';
      pen.fillStyle = '#fffb';
      pen.fillRect(0, 0, 64, 64);
    }
  });
}

const drawn = new Map();
export function figure(hue, facing, state) {
  const key = `${hue} ${facing} ${state}`;
  if (!drawn.has(key)) drawn.set(key, sentinel(hue, facing, state));
  return drawn.get(key);
}

export const kit = canvas(32, 32, (pen) => {
  pen.fillStyle = '#0006'; pen.beginPath(); pen.ellipse(16, 30, 11, 2, 0, 0, 7); pen.fill();
  pen.fillStyle = '#cfd6d2'; pen.beginPath(); pen.roundRect(5, 13, 22, 16, 3); pen.fill();
  pen.fillStyle = '#f6faf8'; pen.fillRect(6, 14, 20, 5);
  pen.fillStyle = '#1fa463'; pen.fillRect(14, 15, 4, 12); pen.fillRect(10, 19, 12, 4);
  pen.fillStyle = '#8b9590'; pen.fillRect(12, 10, 8, 3);
});

export function weapon(pen, width, height, kick, flash) {
  const unit = Math.min(width / 2.4, height) / 100, x = width / 2, y = height + kick * 12 * unit;
  const part = (color, ...points) => {
    pen.fillStyle = color;
    pen.beginPath();
    for (let at = 0; at < points.length; at += 2) pen.lineTo(x + points[at] * unit, y - points[at + 1] * unit);
    pen.fill();
  };
  if (flash) {
    const glow = pen.createRadialGradient(x, y - 39 * unit, 0, x, y - 39 * unit, 22 * unit);
    glow.addColorStop(0, '#fff'); glow.addColorStop(0.3, '#ffd877'); glow.addColorStop(1, '#ff7b0000');
    pen.fillStyle = glow;
    pen.fillRect(x - 30 * unit, y - 70 * unit, 60 * unit, 60 * unit);
  }
  part('#1d2028', -20, -2, -13, 22, 13, 22, 20, -2);
  part('#3a404d', -13, 22, -9, 33, 9, 33, 13, 22);
  part('#5c6576', -9, 33, -6, 39, 6, 39, 9, 33);
  part('#0c0d11', -4, 36, -3, 39, 3, 39, 4, 36);
  part('#7d889c', -13, 22, -10, 30, -8, 30, -10, 20);
  part('#20c9a8', -2, 10, -1.6, 30, 1.6, 30, 2, 10);
  part('#8fffe8', -0.7, 12, -0.5, 29, 0.5, 29, 0.7, 12);
}
