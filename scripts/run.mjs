// What `npm run build`, `test`, `demo`, `bench`, `soak`, `docs` and `tarballs` do, from a fresh clone: node scripts/run.mjs <command> [arguments]
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { install, pack, publishable, root, run, turbo } from './workspace.mjs';

const commands = { build, test, demo, bench, soak, docs, tarballs };
const [name, ...args] = process.argv.slice(2);
if (!Object.hasOwn(commands, name)) {
  console.error(`Expected one of ${Object.keys(commands).join(', ')}, got ${name}`);
  process.exit(2);
}
install({ quiet: name === 'demo' });
process.exitCode = commands[name]();

function build() {
  return run('turbo', ['run', 'build', '--output-logs=new-only', ...args]);
}

function demo() {
  return (
    turbo('build', '--filter=@machinery/examples') ||
    run(process.execPath, [join(root, 'examples/dist/demo/main.js'), ...args])
  );
}

/** Measures this project and others: `--quick`, `--cell drain`, `--system machinery,bullmq`. */
function bench() {
  return (
    turbo('build', '--filter=@machinery/benchmarks') ||
    run(process.execPath, [join(root, 'benchmarks/dist/main.js'), ...args])
  );
}

/** Kills workers, and Redis or RabbitMQ (`--broker amqp`), under load, and looks whether anything is lost. */
function soak() {
  return (
    turbo('build', '--filter=@machinery/soak') || run(process.execPath, [join(root, 'soak/dist/main.js'), ...args])
  );
}

/** Packs all packages into tarballs/, to be installed elsewhere. */
function tarballs() {
  if (turbo('build') !== 0) return 1;
  for (const one of publishable()) {
    const tarball = join(root, 'tarballs', `${one.folder}.tgz`);
    if (pack(one, tarball) !== 0) return 1;
    console.log(tarball);
  }
  return 0;
}

/** Writes the API reference to docs/api/out. It is made of the sources: nothing needs to be built first. */
function docs() {
  return run(process.execPath, [join(root, 'docs/api/build.mjs')]);
}

/** Builds, checks the types of the tests and runs them; arguments go to vitest. The last line is the count. */
function test() {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  if (turbo('build', 'typecheck') === 0) runTests(counts);
  else counts.failed = 1;
  console.log(`${counts.passed} passed, ${counts.failed} failed${counts.skipped ? `, ${counts.skipped} skipped` : ''}`);
  return counts.failed === 0 ? 0 : 1;
}

function runTests(counts) {
  const folder = mkdtempSync(join(tmpdir(), 'machinery-test-'));
  const report = join(folder, 'report.json');
  try {
    const vitest = [join(root, 'node_modules/vitest/vitest.mjs'), 'run'];
    const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
    const status = run(process.execPath, [...vitest, ...reporters, ...args], { env: { MACHINERY_TEST_BUILT: '1' } });
    for (const file of JSON.parse(readFileSync(report, 'utf8')).testResults) {
      const statuses = file.assertionResults.map((result) => result.status);
      for (const one of statuses) counts[one === 'passed' || one === 'failed' ? one : 'skipped'] += 1;
      // A file that did not load has no tests to count.
      if (file.status === 'failed' && !statuses.includes('failed')) counts.failed += 1;
    }
    // An error outside any test.
    if (status !== 0 && counts.failed === 0) counts.failed = 1;
  } catch (error) {
    console.error(`No report from vitest: ${error.message}`);
    counts.failed += 1;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
