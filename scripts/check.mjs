// `npm run check`: what CI runs beyond the tests. The packages are checked as they would be published.
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { install, manifest, pack, publishable, root, run, turbo } from './workspace.mjs';

install();
const temporary = mkdtempSync(join(tmpdir(), 'machinery-check-'));
const failed = [];

check('build', () => turbo('build'));
check('biome', () => run('biome', ['ci', '--error-on-warnings', '.']));
check('knip', () => run('knip', []));
check('docs', () => run(process.execPath, [join(root, 'docs/api/build.mjs')], { quiet: true }));
const packages = publishable().map((one) => ({ ...one, tarball: join(temporary, `${one.folder}.tgz`) }));
for (const { folder, name, tarball } of packages) {
  check(`${name}: pack`, () => pack({ folder }, tarball));
  check(`${name}: publint`, () => run('publint', ['--strict', tarball], { quiet: true }));
  check(`${name}: attw`, () => run('attw', ['--profile', 'esm-only', tarball], { quiet: true }));
}
check('packed and installed', smoke);

rmSync(temporary, { recursive: true, force: true });
console.log(failed.length === 0 ? 'check: all good' : `check: failed: ${failed.join(', ')}`);
process.exitCode = failed.length === 0 ? 0 : 1;

function check(title, work) {
  const start = performance.now();
  const ok = work() === 0;
  if (!ok) failed.push(title);
  console.log(`${ok ? 'ok    ' : 'FAILED'} ${title} (${Math.round(performance.now() - start)} ms)`);
}

/** Installs the tarballs with npm in an empty project, compiles a program against their types, and runs it. */
function smoke() {
  const cwd = join(temporary, 'consumer');
  mkdirSync(cwd);
  const typescript = manifest('node_modules/typescript').version;
  const node = manifest('node_modules/@types/node').version;
  const dependencies = Object.fromEntries(packages.map(({ name, tarball }) => [name, `file:${tarball}`]));
  write('package.json', {
    private: true,
    type: 'module',
    dependencies: { ...dependencies, typescript, '@types/node': node },
  });
  write('tsconfig.json', { compilerOptions: { module: 'nodenext', target: 'es2023', strict: true, types: ['node'] } });
  writeFileSync(join(cwd, 'entries.ts'), entries());
  copyFileSync(join(root, 'scripts/smoke/program.ts'), join(cwd, 'program.ts'));
  return (
    run('npm', ['install', '--no-audit', '--no-fund', '--no-package-lock'], { quiet: true, cwd }) ||
    run('npm', ['exec', '--', 'tsc', '--project', '.'], { quiet: true, cwd }) ||
    run(process.execPath, ['entries.js'], { cwd }) ||
    run(process.execPath, ['program.js'], { cwd })
  );

  function write(file, content) {
    writeFileSync(join(cwd, file), JSON.stringify(content, null, 2));
  }
}

/** A program that imports every entry point of every package. */
function entries() {
  const specifiers = packages.flatMap(({ name, exports }) =>
    Object.keys(exports)
      .filter((path) => !path.endsWith('.json'))
      .map((path) => name + path.slice(1)),
  );
  const lines = specifiers.map((specifier, i) => [
    `import * as entry${i} from '${specifier}';`,
    `if (Object.keys(entry${i}).length === 0) throw new Error('${specifier} exports nothing');`,
  ]);
  return lines.flat().join('\n');
}
