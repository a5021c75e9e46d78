import { availableParallelism, totalmem } from 'node:os';
import { messageOf } from '../core/errors.js';
import { loadOrt } from '../node/ort/library.js';
import { createRuntime } from '../node/ort/runtime.js';
import { loadSharp } from '../node/sharp.js';
import type { Device } from '../runtime/runtime.js';
import type { Command } from './command.js';

/** How to get what a machine lacks. */
const remedies: Readonly<Record<Exclude<Device, 'cpu'>, string>> = {
  cuda: 'on Linux x64 with CUDA 12 and cuDNN 9: npm rebuild onnxruntime-node --onnxruntime-node-install=cuda12',
  webgpu:
    'needs a GPU driver that speaks Vulkan, Metal or Direct3D 12; on Debian: apt-get install libvulkan1 and the driver',
};

interface Finding {
  readonly what: string;
  readonly ok: boolean;
  readonly detail: string;
}

export const doctorCommand: Command = {
  usage: 'varyclip doctor [--json]',
  options: { json: { type: 'boolean', help: 'one JSON document' } },
  mostArguments: 0,
  run: async (args, io) => {
    const findings = [machine(), runtime(), await images(), device('cuda'), device('webgpu')];
    if (args.flag('json')) io.out(`${JSON.stringify(findings)}\n`);
    else for (const { what, ok, detail } of findings) io.out(`${ok ? 'yes' : 'no '}  ${what.padEnd(14)} ${detail}\n`);
    return findings[1].ok && findings[2].ok ? 0 : 1;
  },
};

function machine(): Finding {
  const memory = (totalmem() / 2 ** 30).toFixed(0);
  const detail = `Node ${process.version}, ${process.platform} ${process.arch}, ${availableParallelism()} cores, ${memory} GiB`;
  return { what: 'machine', ok: true, detail };
}

function runtime(): Finding {
  try {
    const { version, providers } = loadOrt();
    return { what: 'ONNX Runtime', ok: true, detail: `${version}: ${providers.join(', ')}` };
  } catch (error) {
    return { what: 'ONNX Runtime', ok: false, detail: messageOf(error) };
  }
}

async function images(): Promise<Finding> {
  try {
    const sharp = await loadSharp();
    return {
      what: 'images',
      ok: true,
      detail: `sharp ${sharp.versions['sharp'] ?? ''}, libvips ${sharp.versions['vips']}`,
    };
  } catch (error) {
    return { what: 'images', ok: false, detail: messageOf(error) };
  }
}

function device(name: Exclude<Device, 'cpu'>): Finding {
  try {
    createRuntime({ device: name });
    return { what: name, ok: true, detail: 'present' };
  } catch (error) {
    return {
      what: name,
      ok: false,
      detail: `${messageOf(error)} (${remedies[name]})`.replace('; run: varyclip doctor', ''),
    };
  }
}
