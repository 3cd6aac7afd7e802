// Where a server's program comes from, and what happens when there is none.

import { execFileSync } from 'node:child_process';
import process from 'node:process';

/** The first of these programs that is there; installs Debian's package when it may. */
export function findProgram(names: readonly string[], debianPackage: string): string | undefined {
  const find = () => names.find(isInstalled);
  const found = find();
  if (found !== undefined || process.getuid?.() !== 0 || !succeeds('sh', ['-c', 'command -v apt-get'])) return found;
  succeeds('apt-get', ['update', '-qq']);
  succeeds('apt-get', ['install', '-y', '-qq', '--no-install-recommends', debianPackage]);
  return find();
}

/** Whether a program is there. */
export function isInstalled(name: string): boolean {
  return succeeds('sh', ['-c', `command -v ${name}`]);
}

/** The tests of a service that cannot be had are skipped with a line, or fail where they are required (CI). */
export function missing(service: string, how: string): undefined {
  const text = `${service} is not there: ${how}`;
  if (process.env.MACHINERY_REQUIRE_SERVICES === '1') throw new Error(text);
  console.warn(`Skipped: ${text}`);
  return undefined;
}

function succeeds(command: string, args: readonly string[]): boolean {
  try {
    execFileSync(command, args, { stdio: 'ignore', env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } });
    return true;
  } catch {
    return false;
  }
}
