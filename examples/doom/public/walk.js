// How one moves between walls: the same rules as src/maze.py, so that the page can move before it is told.
export const STEP = 0.16, RADIUS = 0.24, AHEAD = 1, BACK = 2, LEFT = 4, RIGHT = 8, FIRE = 16;
let rows = ['.'];
export const build = (given) => { rows = given; };
export const at = (x, y) => rows[y]?.[x] ?? 'a';

function free(x, y) {
  for (const dx of [-RADIUS, RADIUS]) for (const dy of [-RADIUS, RADIUS]) if (at(Math.floor(x + dx), Math.floor(y + dy)) !== '.') return false;
  return true;
}

export function walk({x, y}, angle, keys) {
  const ahead = !!(keys & AHEAD) - !!(keys & BACK), side = !!(keys & RIGHT) - !!(keys & LEFT);
  const step = STEP * (ahead && side ? Math.SQRT1_2 : 1);
  const dx = (Math.cos(angle) * ahead - Math.sin(angle) * side) * step, dy = (Math.sin(angle) * ahead + Math.cos(angle) * side) * step;
  if (free(x + dx, y)) x += dx;
  if (free(x, y + dy)) y += dy;
  return {x, y};
}
