// What every script at the root starts with: the tools that the lock file names, installed, and a way to run them.
import { spawnSync } from 'node:child_process';
import { copyFileSync, readdirSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('..', import.meta.url));

const env = {
  ...process.env,
  PATH: join(root, 'node_modules', '.bin') + delimiter + process.env.PATH,
  TURBO_TELEMETRY_DISABLED: '1',
  TURBO_NO_UPDATE_NOTIFIER: '1',
  DO_NOT_TRACK: '1',
};
// Tests that need a service are skipped where it cannot be had; with this variable they fail instead.
if (env.CI === 'true') env.MACHINERY_REQUIRE_SERVICES ??= '1';

/** Runs a command and gives its exit code. A quiet command's output is shown only when it fails. */
export function run(command, args, { quiet = false, cwd = root, env: more = {} } = {}) {
  // On Windows the tools are .cmd files, which only a shell starts.
  const shell = process.platform === 'win32' && command !== process.execPath;
  const output = quiet ? ['ignore', 'pipe', 'pipe'] : 'inherit';
  const result = spawnSync(command, args, { cwd, env: { ...env, ...more }, shell, stdio: output, maxBuffer: 2 ** 28 });
  if (result.error) throw result.error;
  const status = result.status ?? 1;
  if (quiet && status !== 0) {
    process.stderr.write(result.stdout);
    process.stderr.write(result.stderr);
  }
  return status;
}

/** Installs what the lock file names, unless that is what is installed. */
export function install({ quiet = false } = {}) {
  const lock = join(root, 'pnpm-lock.yaml');
  const installed = join(root, 'node_modules', '.installed-lock.yaml');
  if (read(lock) === read(installed)) return;
  const { packageManager } = JSON.parse(read(join(root, 'package.json')));
  const status = run('npx', ['--yes', packageManager, 'install', '--frozen-lockfile'], { quiet });
  if (status !== 0) process.exit(status);
  copyFileSync(lock, installed);
}

/** Runs tasks of the packages, in the order of their dependencies; only what changed is done again. */
export function turbo(...args) {
  return run('turbo', ['run', ...args, '--output-logs=errors-only'], { quiet: true });
}

/** The packages that are published: folder and manifest of each. */
export function publishable() {
  return readdirSync(join(root, 'packages'))
    .map((folder) => ({ folder, ...manifest(join('packages', folder)) }))
    .filter((one) => one.private !== true);
}

/** Packs a built package as it would be published, into a file. */
export function pack({ folder }, tarball) {
  return run('pnpm', ['pack', '--out', tarball], { quiet: true, cwd: join(root, 'packages', folder) });
}

export function manifest(folder) {
  return JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8'));
}

function read(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}
