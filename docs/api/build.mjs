// `npm run docs`: the API reference of the published packages, made of their sources, with the READMEs and the guides, in out/.
// Any warning fails it. Neighbours: entry-points.mjs finds the packages, pages.mjs arranges the pages.
import { extname, join, relative } from 'node:path';
import process from 'node:process';
import { Application, OptionDefaults } from 'typedoc';
import { entryPoints, packageNames, root } from './entry-points.mjs';
import { arrangePages } from './pages.mjs';

const guides = [
  ...['docs/*.md', 'docs/decisions/*.md', 'examples/README.md', 'examples/*/README.md'],
  ...['ARCHITECTURE.md', 'CONTRIBUTING.md', 'benchmarks/README.md'],
];
/** The steps of computed types: nobody needs their names. An entry that is no longer needed is a warning, too. */
const notExported = {
  '@machinery/core': [
    ...['InOf', 'OutOf', 'ListOf', 'Given', 'PassingOn'].map((name) => `task.ts:${name}`),
    ...['AcceptsOf', 'GivesOf', 'ValueOf', 'FirstOf', 'LastOf'].map((name) => `workflow.ts:${name}`),
    ...['AcceptedByAll', 'GivenByAll', 'ValuesOf', 'Linked', 'Taking'].map((name) => `workflow.ts:${name}`),
  ],
};

const app = await Application.bootstrap({
  name: 'Machinery for TypeScript',
  tsconfig: join(import.meta.dirname, 'tsconfig.json'),
  entryPoints: entryPoints.map(({ source }) => source),
  readme: join(root, 'README.md'),
  projectDocuments: guides.map((guide) => join(root, guide)),
  out: join(import.meta.dirname, 'out'),
  highlightLanguages: [...OptionDefaults.highlightLanguages, 'diff', 'go', 'ini', 'python', 'sql', 'toml'],
  headings: { readme: false, document: false },
  searchInComments: true,
  searchInDocuments: true,
  // What every Error and every EventTarget has is described elsewhere.
  excludeExternals: true,
  excludeInternal: true,
  // There is no public repository that lines could be linked to.
  disableSources: true,
  validation: { notExported: false },
});
arrangePages(app);
process.exitCode = (await build()) ? 0 : 1;

async function build() {
  const project = await app.convert();
  if (!project || !clean()) return false;
  validate(project);
  if (!clean()) return false;
  await app.generateOutputs(project);
  return clean();
}

function validate(project) {
  app.validate(project);
  const markdown = project.files.getMediaPaths().filter((path) => extname(path) === '.md');
  for (const path of markdown)
    app.logger.warn(`${relative(root, path)} is linked to and has no page: add it to the guides`);
  // typedoc looks for types that are not exported only in the package that is the project's.
  app.options.setValue('validation', false);
  app.options.setValue('validation', { notExported: true });
  const { packageName } = project;
  for (const name of packageNames) {
    project.packageName = name;
    app.options.setValue('intentionallyNotExported', notExported[name] ?? []);
    app.validate(project);
  }
  project.packageName = packageName;
}

function clean() {
  const { errorCount, warningCount, validationWarningCount } = app.logger;
  return errorCount + warningCount + validationWarningCount === 0;
}
