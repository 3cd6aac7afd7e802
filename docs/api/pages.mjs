// What typedoc does not do by itself for a repository of several packages: modules called by their import specifiers, each
// package's README on its page, guides called by their headings, and links between files that lead to pages.
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, extname, relative } from 'node:path';
import { Converter, DocumentReflection, MinimalSourceFile, ReflectionKind } from 'typedoc';
import { entryPoints, root } from './entry-points.mjs';

export function arrangePages({ converter }) {
  converter.on(Converter.EVENT_CREATE_DECLARATION, ({ project }, reflection) => {
    if (reflection.kindOf(ReflectionKind.Module)) nameModule(converter, project, reflection);
  });
  converter.on(Converter.EVENT_CREATE_DOCUMENT, (_, page) => nameGuide(page));
  // Last, when all links are known: those of the README at the root come only then.
  converter.on(Converter.EVENT_RESOLVE_BEGIN, ({ project }) => addTargets(converter, project), -1000);
}

function nameModule(converter, project, module) {
  const { specifier, readme } = entryPoints.find(({ source }) => source === fileOf(project, module));
  module.name = specifier;
  if (!readme || !existsSync(readme)) return;
  module.readme = parse(converter, project, readme, readFileSync(readme, 'utf8'));
  project.files.registerReflectionPath(readme, module);
}

function nameGuide(page) {
  const heading = /^# (.+)$/m.exec(page.content.map(({ text }) => text).join(''));
  if (heading) page.name = heading[1];
}

/** A link to a source leads to what the source is named after; one to a directory, to a list of its files. */
function addTargets(converter, project) {
  for (const path of project.files.getMediaPaths().filter((one) => extname(one) === '.ts')) {
    const target = project
      .getReflectionsByKind(ReflectionKind.SomeExport)
      .find((one) => `${kebab(one.name)}.ts` === basename(path) && fileOf(project, one) === path);
    if (target) project.files.registerReflectionPath(path, target);
  }
  for (const path of project.files.getMediaPaths().filter((one) => statSync(one).isDirectory())) {
    const list = readdirSync(path).map((file) => `- [${file}](${file})`);
    const content = parse(converter, project, `${path}/index.md`, list.join('\n'));
    const page = new DocumentReflection(relative(root, path), project, content, {});
    project.addChild(page);
    project.registerReflection(page, undefined, undefined);
    project.files.registerReflectionPath(path, page);
  }
}

function parse(converter, project, path, markdown) {
  return converter.parseRawComment(new MinimalSourceFile(markdown, path), project.files).content;
}

function fileOf(project, reflection) {
  return project.getSymbolIdFromReflection(reflection)?.fileName;
}

function kebab(name) {
  return name.replace(/(?<=[a-z0-9])(?=[A-Z])/g, '-').toLowerCase();
}
