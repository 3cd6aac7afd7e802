// A logger that keeps what it is told.

import type { Logger } from '../../src/logger.ts';
import { Journal } from './journal.ts';

export type Level = 'debug' | 'info' | 'warn' | 'error';

export class RecordingLogger extends Journal<{ level: Level; text: string; details: unknown[] }> implements Logger {
  debug = (text: string, ...details: unknown[]) => this.add({ level: 'debug', text, details });
  info = (text: string, ...details: unknown[]) => this.add({ level: 'info', text, details });
  warn = (text: string, ...details: unknown[]) => this.add({ level: 'warn', text, details });
  error = (text: string, ...details: unknown[]) => this.add({ level: 'error', text, details });

  /** The texts of one level. */
  texts(level: Level): string[] {
    return this.items.filter((entry) => entry.level === level).map(({ text }) => text);
  }
}
