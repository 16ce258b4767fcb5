'use strict';

const data = JSON.parse(document.getElementById('data').textContent);
const find = (id) => document.getElementById(id);

// Arrays come as the base64 text of little-endian float16.
function readFloats(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const bits = new DataView(bytes.buffer);
  const floats = new Float32Array(bytes.length / 2);
  for (let i = 0; i < floats.length; i++) {
    floats[i] = asFloat(bits.getUint16(2 * i, true));
  }
  return floats;
}

function asFloat(half) {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 31;
  const fraction = half & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

function readLayers() {
  const floats = readFloats(data.weights);
  let start = 0;
  const take = (size) => floats.subarray(start, (start += size));
  return data.layers.map(({inputs, outputs, slope}) => ({
    kernel: take(inputs * outputs), bias: take(outputs), slope,
  }));
}

const layers = readLayers();

// The pixels of a code, as they are stored: from 0 to 255, not rounded.
function decode(code) {
  let x = code;
  for (const layer of layers) x = dense(x, layer);
  const mean = data.is_logit ? (v) => 1 / (1 + Math.exp(-v)) : (v) => v;
  return x.map((v) => mean(v) * data.divisor + data.offset);
}

function dense(x, {kernel, bias, slope}) {
  const y = Float32Array.from(bias);
  const size = y.length;
  for (let i = 0; i < x.length; i++) {
    const value = x[i];
    if (value === 0) continue;
    const row = kernel.subarray(i * size, (i + 1) * size);
    for (let j = 0; j < size; j++) y[j] += value * row[j];
  }
  if (slope === null) return y.map(softplus);
  return slope === 1 ? y : y.map((v) => (v > 0 ? v : slope * v));
}

function softplus(v) {
  return Math.max(v, 0) + Math.log1p(Math.exp(-Math.abs(v)));
}

const [height, width, channels] = data.image_shape;

// One channel is dark ink on white, as in the figures.
function paint(canvas, pixels) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext('2d');
  const image = context.createImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let k = 0; k < 3; k++) {
      const value = pixels[i * channels + (channels === 1 ? 0 : k)];
      // The array rounds and clips.
      image.data[4 * i + k] = channels === 1 ? 255 - value : value;
    }
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

// Codes: y, if there is one, and then z.
const ySize = data.y_size;
const size = ySize + data.mean.length;
const codes = readFloats(data.codes);
const codeOf = (i) => codes.slice(i * size, (i + 1) * size);

function coordinate(code, axis) {
  return data.axes[axis].reduce(
    (sum, a, i) => sum + a * (code[ySize + i] - data.mean[i]), 0);
}

function moveTo(code, axis, value) {
  const change = value - coordinate(code, axis);
  data.axes[axis].forEach((a, i) => { code[ySize + i] += change * a; });
}

const isPlane = data.axes.length > 1;
const points = Array.from({length: codes.length / size}, (_, i) => {
  const code = codeOf(i);
  return {x: coordinate(code, 0), y: isPlane ? coordinate(code, 1) : 0};
});

let code = codeOf(0);
let near = null;
let position = 0;
const ends = [codeOf(0), codeOf(otherClass())];

function otherClass() {
  const other = data.labels.findIndex((label) => label !== data.labels[0]);
  return Math.max(other, Math.min(1, points.length - 1));
}

// The plane: x to the right and y up, in the unit of z.
const plane = find('plane');
const backdrop = document.createElement('canvas');
const scale = () => plane.width / (2 * data.half);
const toPlane = (x, y) => [
  (x - data.centre[0] + data.half) * scale(),
  (data.half - y + data.centre[1]) * scale(),
];
const fromPlane = (left, top) => [
  left / scale() + data.centre[0] - data.half,
  data.half + data.centre[1] - top / scale(),
];
const colour = (name) => getComputedStyle(document.body).getPropertyValue(name);

function drawBackdrop() {
  const ratio = window.devicePixelRatio || 1;
  const side = Math.round(plane.clientWidth * ratio);
  plane.width = plane.height = backdrop.width = backdrop.height = side;
  const context = backdrop.getContext('2d');
  const radius = (points.length > 1000 ? 2 : 3) * ratio;
  points.forEach((point, i) => {
    const [left, top] = toPlane(point.x, point.y);
    context.fillStyle = data.colours[data.labels[i]] || colour('--quiet');
    context.globalAlpha = 0.75;
    context.beginPath();
    context.arc(left, top, radius, 0, 7);
    context.fill();
  });
  context.globalAlpha = 1;
  data.heads.forEach((head, i) => drawHead(context, head, i, ratio));
}

function drawHead(context, head, i, ratio) {
  const [left, top] = toPlane(...head);
  context.fillStyle = colour('--page');
  context.strokeStyle = colour('--text');
  context.lineWidth = 1.5 * ratio;
  context.beginPath();
  context.arc(left, top, 9 * ratio, 0, 7);
  context.fill();
  context.stroke();
  context.fillStyle = colour('--text');
  context.font = `${11 * ratio}px sans-serif`;
  context.textAlign = 'center';
  context.textBaseline = 'middle';
  context.fillText(i, left, top);
}

function place(code) {
  return toPlane(coordinate(code, 0), isPlane ? coordinate(code, 1) : 0);
}

function drawPlane() {
  const ratio = window.devicePixelRatio || 1;
  const context = plane.getContext('2d');
  context.clearRect(0, 0, plane.width, plane.height);
  context.drawImage(backdrop, 0, 0);
  context.lineWidth = ratio;
  context.strokeStyle = colour('--quiet');
  context.setLineDash([4 * ratio, 4 * ratio]);
  context.beginPath();
  context.moveTo(...place(ends[0]));
  context.lineTo(...place(ends[1]));
  context.stroke();
  context.setLineDash([]);
  if (near !== null) {
    ring(context, toPlane(points[near].x, points[near].y), 6 * ratio, 1.5 * ratio);
  }
  ring(context, place(code), 10 * ratio, 2.5 * ratio);
}

function ring(context, [left, top], radius, lineWidth) {
  for (const [name, extra] of [['--page', 3], ['--text', 0]]) {
    context.strokeStyle = colour(name);
    context.lineWidth = lineWidth + extra;
    context.beginPath();
    context.arc(left, top, radius, 0, 7);
    context.stroke();
  }
}

// What is seen of the code and of the point that is near.
let isDue = false;

function changed() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(show);
}

function show() {
  isDue = false;
  paint(find('now').firstElementChild, decode(code));
  drawPlane();
  showControls();
}

function showControls() {
  const largest = code.slice(0, ySize).reduce(
    (best, v, i, y) => (v > y[best] ? i : best), 0);
  [...find('labels').children].forEach((button, i) => {
    button.setAttribute('aria-pressed', i === largest);
  });
  [...find('axes').children].forEach((row, i) => {
    const value = coordinate(code, i + 2);
    row.querySelector('input').value = value;
    row.querySelector('output').textContent = value.toFixed(2).replace('-', '\u2212');
  });
  find('way').value = position;
}

function showNear() {
  const panel = find('near');
  panel.hidden = near === null;
  if (near === null) return;
  const [image, again] = panel.querySelectorAll('canvas');
  image.parentElement.hidden = !data.thumbnails;
  if (data.thumbnails) copyThumbnail(image, near);
  paint(again, decode(codeOf(near)));
  panel.querySelector('p').textContent = describe(near);
}

function copyThumbnail(canvas, i) {
  canvas.width = width;
  canvas.height = height;
  const left = (i % data.columns) * width;
  const top = Math.floor(i / data.columns) * height;
  canvas.getContext('2d').drawImage(
    thumbnails, left, top, width, height, 0, 0, width, height);
}

function describe(i) {
  const label = data.classes[data.labels[i]];
  const own = codeOf(i).slice(0, ySize);
  const taken = data.classes[own.indexOf(Math.max(...own))];
  if (label === undefined) return '';
  if (data.is_inferred && taken !== label) return `${label}, taken for ${taken}`;
  return `class ${label}`;
}

const thumbnails = new Image();
thumbnails.onload = showNear;
if (data.thumbnails) thumbnails.src = data.thumbnails;

function nearest(left, top, reach) {
  let best = null;
  let least = reach ** 2;
  points.forEach((point, i) => {
    const [x, y] = toPlane(point.x, point.y);
    const distance = (x - left) ** 2 + (y - top) ** 2;
    if (distance < least) [best, least] = [i, distance];
  });
  return best;
}

function lookAt(i) {
  if (i === near) return;
  near = i;
  showNear();
  changed();
}

function take(i) {
  code = codeOf(i);
  lookAt(i);
  changed();
}

// To a place in the plane, of which nothing leads out.
function moveCode(left, top) {
  const within = (v) => Math.min(Math.max(v, 0), plane.width);
  const [x, y] = fromPlane(within(left), within(top));
  moveTo(code, 0, x);
  if (isPlane) moveTo(code, 1, y);
  changed();
}

// With a mouse, a pen or a finger.
let pressed = null;

function locate(event) {
  const box = plane.getBoundingClientRect();
  const ratio = plane.width / box.width;
  return [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
}

plane.addEventListener('pointerdown', (event) => {
  pressed = {x: event.clientX, y: event.clientY, hasMoved: false};
  // One that a script makes has no pointer to capture.
  if (event.isTrusted) plane.setPointerCapture(event.pointerId);
  moveCode(...locate(event));
});

plane.addEventListener('pointermove', (event) => {
  const reach = (event.pointerType === 'mouse' ? 10 : 24) * (window.devicePixelRatio || 1);
  const [left, top] = locate(event);
  lookAt(nearest(left, top, reach));
  if (!pressed) return;
  pressed.hasMoved ||= Math.hypot(event.clientX - pressed.x, event.clientY - pressed.y) > 4;
  moveCode(left, top);
});

plane.addEventListener('pointerup', (event) => {
  const isClick = pressed && !pressed.hasMoved;
  pressed = null;
  const [left, top] = locate(event);
  const i = nearest(left, top, 10 * (window.devicePixelRatio || 1));
  if (isClick && i !== null) take(i);
});

plane.addEventListener('pointercancel', () => { pressed = null; });
plane.addEventListener('pointerleave', (event) => {
  // What a finger was lifted from stays.
  if (!pressed && event.pointerType === 'mouse') lookAt(null);
});

// With the keys.
const ARROWS = {
  ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
};

plane.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key;
  const step = (event.shiftKey ? 0.1 : 0.02) * plane.width;
  if (key in ARROWS) {
    const [left, top] = place(code);
    moveCode(left + step * ARROWS[key][0], top + step * ARROWS[key][1]);
    lookAt(nearest(...place(code), plane.width / 50));
  } else if ('np'.includes(key.toLowerCase())) {
    const next = (near ?? -1) + (key.toLowerCase() === 'n' ? 1 : -1);
    take((next + points.length) % points.length);
  } else if (key >= '0' && key < String(Math.min(ySize, 10))) {
    chooseLabel(Number(key));
  } else {
    return;
  }
  event.preventDefault();
});

// y, the axes of z, and the way between two codes.
function chooseLabel(label) {
  code.fill(0, 0, ySize);
  code[label] = 1;
  changed();
}

function makeLabels() {
  find('y').hidden = !ySize;
  for (let i = 0; i < ySize; i++) {
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = data.entries[i];
    button.addEventListener('click', () => chooseLabel(i));
    find('labels').append(button);
  }
}

function makeAxes() {
  find('z').hidden = data.axes.length < 3;
  if (find('z').hidden) return;
  // The first two are those of the plane.
  data.axes.slice(2).forEach((_, i) => {
    const axis = i + 2;
    const row = document.createElement('label');
    row.className = 'axis';
    row.innerHTML = `<span>${axis + 1}</span><input type="range"><output></output>`;
    const [low, high] = data.ranges[axis];
    Object.assign(row.querySelector('input'), {min: low, max: high, step: (high - low) / 200});
    row.querySelector('input').addEventListener('input', (event) => {
      moveTo(code, axis, Number(event.target.value));
      changed();
    });
    find('axes').append(row);
  });
}

function makeLegend() {
  data.classes.forEach((name, i) => {
    const item = document.createElement('li');
    item.textContent = name;
    item.style.setProperty('--colour', data.colours[i]);
    find('legend').append(item);
  });
}

function between(share) {
  return ends[0].map((v, i) => (1 - share) * v + share * ends[1][i]);
}

function goTo(share) {
  position = share;
  code = between(share);
  changed();
}

const NUM_STEPS = 9;

function makeStrip() {
  for (let i = 0; i < NUM_STEPS; i++) {
    const button = document.createElement('button');
    button.type = 'button';
    button.setAttribute('aria-label', `Step ${i + 1} of ${NUM_STEPS}`);
    button.append(document.createElement('canvas'));
    button.addEventListener('click', () => goTo(i / (NUM_STEPS - 1)));
    find('strip').append(button);
  }
  find('way').addEventListener('input', (event) => goTo(Number(event.target.value)));
  ['from', 'to'].forEach((id, end) => {
    find(id).addEventListener('click', () => {
      ends[end] = code.slice();
      position = end;
      showStrip();
      changed();
    });
  });
}

function showStrip() {
  [...find('strip').children].forEach((button, i) => {
    paint(button.firstElementChild, decode(between(i / (NUM_STEPS - 1))));
  });
}

function redraw() {
  drawBackdrop();
  changed();
}

makeLegend();
makeLabels();
makeAxes();
makeStrip();
showStrip();
take(0);
redraw();
new ResizeObserver(redraw).observe(plane);
window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
