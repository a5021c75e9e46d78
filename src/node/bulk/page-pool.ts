import type { PagePicture } from '../../output/document/pdf.js';
import { createWorkerPool } from '../worker-pool.js';
import type { InputDocument } from './inputs.js';
import type { OpenedDocument, PageJob, PagePlan, PageResult, PreparedPage } from './page-worker.js';

/** Threads that open documents and prepare their pages. A page that fails or takes too long is an InputError, whatever it did. */
export interface PagePool {
  open(document: InputDocument): Promise<OpenedDocument>;
  /** Pages count from 0. */
  page(document: InputDocument, page: number): Promise<PreparedPage>;
  picture(document: InputDocument, page: number): Promise<PagePicture>;
  dispose(): Promise<void>;
}

export interface PagePoolOptions {
  readonly plan: PagePlan;
  readonly threads: number;
  /** Seconds a page may take. */
  readonly timeLimit: number;
}

export function createPagePool({ plan, threads, timeLimit }: PagePoolOptions): PagePool {
  const pool = createWorkerPool<PageJob, PageResult>({
    module: new URL('./page-worker.js', import.meta.url),
    data: plan,
    threads,
    jobsPerThread: 1,
    name: 'page',
    timeLimit,
  });
  return {
    open: (document) => pool.run({ kind: 'open', document }) as Promise<OpenedDocument>,
    page: (document, page) => pool.run({ kind: 'page', document, page }) as Promise<PreparedPage>,
    picture: (document, page) => pool.run({ kind: 'picture', document, page }) as Promise<PagePicture>,
    dispose: () => pool.dispose(),
  };
}
