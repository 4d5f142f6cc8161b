// What is pressed: keyboard, mouse and touch, as the bits and the angle that go to the arena.
import {AHEAD, BACK, FIRE, LEFT, RIGHT} from '/walk.js';

const BITS = {KeyW: AHEAD, ArrowUp: AHEAD, KeyS: BACK, ArrowDown: BACK, KeyA: LEFT, KeyD: RIGHT, Space: FIRE};
const TURN_A_SECOND = 2.6, TURN_A_PIXEL = 0.0028;
const view = document.getElementById('view'), stick = document.getElementById('stick'), fire = document.getElementById('fire');
const down = new Set();
let mouse = 0, pad = 0;
export const facing = {angle: 0};

addEventListener('keydown', (event) => {
  if (document.querySelector('dialog[open]')) return;
  if (event.code in BITS || event.code.startsWith('Arrow')) event.preventDefault();
  down.add(event.code);
});
addEventListener('keyup', (event) => down.delete(event.code));
addEventListener('blur', () => { down.clear(); mouse = 0; });

view.addEventListener('pointerdown', (event) => {
  if (event.pointerType !== 'mouse') return view.setPointerCapture(event.pointerId);
  mouse = FIRE;
  view.requestPointerLock?.()?.catch?.(() => {});  // a browser may refuse; keys turn as well
});
addEventListener('pointerup', () => { mouse = 0; });
view.addEventListener('pointermove', (event) => {
  if (document.pointerLockElement === view || (event.pointerType !== 'mouse' && event.buttons)) facing.angle += event.movementX * TURN_A_PIXEL * (event.pointerType === 'mouse' ? 1 : 2.5);
});

function moveStick(event) {
  const box = stick.getBoundingClientRect(), x = (event.clientX - box.x) / box.width * 2 - 1, y = (event.clientY - box.y) / box.height * 2 - 1;
  pad = (y < -0.3 ? AHEAD : 0) | (y > 0.3 ? BACK : 0) | (x < -0.4 ? LEFT : 0) | (x > 0.4 ? RIGHT : 0);
  stick.firstElementChild.style.translate = `${Math.max(-1, Math.min(1, x)) * 2.2}rem ${Math.max(-1, Math.min(1, y)) * 2.2}rem`;
}
stick.addEventListener('pointerdown', (event) => { stick.setPointerCapture(event.pointerId); moveStick(event); });
stick.addEventListener('pointermove', (event) => { if (event.buttons) moveStick(event); });
for (const end of ['pointerup', 'pointercancel']) stick.addEventListener(end, () => { pad = 0; stick.firstElementChild.style.translate = ''; });
fire.addEventListener('pointerdown', (event) => { fire.setPointerCapture(event.pointerId); mouse = FIRE; });

export function turn(seconds) {
  facing.angle += ((down.has('ArrowRight') || down.has('KeyE')) - (down.has('ArrowLeft') || down.has('KeyQ'))) * TURN_A_SECOND * seconds;
}
export const pressed = () => [...down].reduce((bits, code) => bits | (BITS[code] ?? 0), 0) | mouse | pad;
