// Two ranks under a real mpirun. Finds it, installs the system's package where it may, and otherwise says what to run.
import { spawnSync } from 'node:child_process';

const install = ['apt-get', 'install', '-y', '--no-install-recommends', 'openmpi-bin', 'libopenmpi3'];
const found = () => spawnSync('mpirun', ['--version'], { encoding: 'utf8' }).stdout ?? '';
if (found() === '' && process.getuid?.() === 0) {
  spawnSync(install[0], ['update'], { stdio: 'ignore' });
  spawnSync(install[0], install.slice(1), { stdio: 'ignore' });
}
const version = found();
if (version === '') {
  console.error(`test:mpi needs an MPI: run  sudo ${install.join(' ')}  and try again`);
  process.exit(1);
}
// Open MPI counts a virtual machine's cores as it likes, and refuses root without being told.
const options = version.includes('Open MPI') ? ['--allow-run-as-root', '--oversubscribe'] : [];
for (const name of ['gradients', 'contrastive', 'train']) {
  const program = `dist/test/mpi/${name}.js`;
  const { status } = spawnSync('mpirun', [...options, '-np', '2', process.execPath, '--enable-source-maps', program], {
    stdio: 'inherit',
  });
  if (status !== 0) process.exit(status ?? 1);
}
