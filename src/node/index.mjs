import io from './index.js';

export const { Server, Namespace, Socket, channels } = io;
export default io;
