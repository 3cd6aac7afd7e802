// A MongoDB for tests: a mongod where there is one, else mongo-java-server, else FerretDB with SQLite. The second of them is compatible in what
// the first promises (changes of one document are steps, each of a batch has an answer), so it comes before the third.

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { isInstalled, missing } from './available.ts';
import { madeOnce } from './made-once.ts';
import { freePort } from './redis.ts';

export interface MongoServer {
  readonly url: string;
  /** Ends what was started here, with its data. */
  stop(): Promise<void>;
}

const javaFolder = join(import.meta.dirname, '../mongo-java-server');
const ferretFolder = join(import.meta.dirname, '../ferretdb');
const run = promisify(execFile);

/** The MongoDB of `MONGODB_URL`, or one of its own. undefined where there is none. */
export async function mongoServer(): Promise<MongoServer | undefined> {
  const { MONGODB_URL: url } = process.env;
  return url ? { url, stop: async () => {} } : startMongo();
}

/** One of its own. undefined where there is none. */
export async function startMongo(): Promise<StartedMongo | undefined> {
  if (isInstalled('mongod')) return started(mongod);
  if (isInstalled('javac') && isInstalled('mvn')) return started(await mongoJavaServer());
  if (findGo() !== undefined) return startFerret();
  return missing('MongoDB', 'set MONGODB_URL, or install mongod, or a JDK and Maven, or Go');
}

/** A FerretDB 1.24 of its own, which keeps its data on disk and refuses TTL indexes. undefined where there is no Go to build it. */
export async function startFerret(): Promise<StartedMongo | undefined> {
  const go = findGo();
  return go === undefined ? missing('FerretDB', 'install Go, which builds it') : started(await ferret(go));
}

type CommandOf = (port: number, folder: string) => readonly [program: string, ...args: string[]];

const mongod: CommandOf = (port, folder) => [
  'mongod',
  ...['--port', String(port), '--bind_ip', '127.0.0.1', '--dbpath', folder, '--quiet', '--nounixsocket'],
];

async function mongoJavaServer(): Promise<CommandOf> {
  const pom = join(javaFolder, 'pom.xml');
  const jars = join(javaFolder, 'dist/jars');
  await madeOnce(jars, [pom], (path) =>
    run('mvn', ['-q', '-B', '-f', pom, 'dependency:copy-dependencies', `-DoutputDirectory=${path}`]),
  );
  const jvm = ['-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-Xmx1g'];
  return (port) => ['java', ...jvm, '-cp', join(jars, '*'), join(javaFolder, 'Server.java'), String(port)];
}

/** Takes a minute the first time, while its modules are compiled. */
async function ferret(go: string): Promise<CommandOf> {
  const program = join(ferretFolder, 'dist/ferretdb');
  const sources = ['main.go', 'go.mod'].map((name) => join(ferretFolder, name));
  const flags = ['-trimpath', '-buildvcs=false', '-tags', 'ferretdb_no_postgresql', '-ldflags', '-s -w'];
  await madeOnce(program, sources, (path) => run(go, ['build', ...flags, '-o', path, '.'], { cwd: ferretFolder }));
  return (port, folder) => [program, String(port), folder];
}

function findGo(): string | undefined {
  return ['go', '/usr/local/go/bin/go'].find(isInstalled);
}

async function started(commandOf: CommandOf): Promise<StartedMongo> {
  const mongo = new StartedMongo(commandOf, await freePort());
  try {
    await mongo.start();
  } catch (error) {
    await mongo.stop();
    throw error;
  }
  return mongo;
}

/** A server of this process, which can be killed and started again; mongo-java-server without its data. */
export class StartedMongo implements MongoServer {
  readonly port: number;
  readonly #commandOf: CommandOf;
  readonly #folder = mkdtempSync(join(tmpdir(), 'machinery-mongodb-'));
  #process: ChildProcess | undefined;
  readonly #kill = () => this.#process?.kill('SIGKILL');

  constructor(commandOf: CommandOf, port: number) {
    this.#commandOf = commandOf;
    this.port = port;
  }

  get url(): string {
    return `mongodb://127.0.0.1:${this.port}`;
  }

  async start(): Promise<void> {
    const [program, ...args] = this.#commandOf(this.port, this.#folder);
    const child = spawn(program, args, { stdio: 'ignore' });
    this.#process = child;
    process.once('exit', this.#kill);
    child.unref();
    while (!(await answers(this.port))) {
      if (child.exitCode !== null) throw new Error(`${program} ended with ${child.exitCode} at its start`);
      await sleep(20);
    }
  }

  /** SIGKILL by default; what SIGSTOP stops goes on with SIGCONT. */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.#process;
    if (child === undefined) return;
    child.ref(); // or a program whose last step this is ends before
    child.kill(signal);
    if (signal !== 'SIGKILL') return;
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    process.off('exit', this.#kill);
  }

  async stop(): Promise<void> {
    await this.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** Whether there is a listener. */
function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => end(true));
    const end = (is: boolean) => {
      socket.destroy();
      resolve(is);
    };
    socket.once('error', () => end(false));
  });
}
