// What programs in Node.js do: an HTTP server, a worker thread, a child, files, interfaces.
const assert = require('assert');
const { execFileSync } = require('child_process');
const fs = require('fs');
const http = require('http');
const os = require('os');
const path = require('path');
const { Worker } = require('worker_threads');

function served() {
  return new Promise((resolve, reject) => {
    const server = http.createServer((_, answer) => answer.end('served'));
    server.listen(8080, '127.0.0.1', () => {
      http.get('http://127.0.0.1:8080/', (answer) => {
        let text = '';
        answer.on('data', (part) => { text += part; });
        answer.on('end', () => server.close(() => resolve(text)));
      }).on('error', reject);
    });
  });
}

function worked() {
  return new Promise((resolve, reject) => {
    const source = "require('worker_threads').parentPort.postMessage(6 * 7)";
    const worker = new Worker(source, { eval: true });
    worker.on('message', resolve);
    worker.on('error', reject);
  });
}

async function main() {
  assert.strictEqual(await served(), 'served');
  assert.strictEqual(await worked(), 42);
  const said = execFileSync('/bin/sh', ['-c', 'echo from a child']).toString();
  assert.strictEqual(said, 'from a child\n');
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'check-'));
  fs.writeFileSync(path.join(folder, 'file'), 'kept');
  assert.strictEqual(fs.readFileSync(path.join(folder, 'file'), 'utf8'), 'kept');
  assert.ok(os.cpus().length >= 1);
  // A compiled function, and one of WebAssembly: memory to execute from.
  const empty = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]);
  assert.ok((await WebAssembly.instantiate(empty)).instance);
  console.log('all is well');
}

main().catch((error) => { console.error(String(error)); process.exit(1); });
