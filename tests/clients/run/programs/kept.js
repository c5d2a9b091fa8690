// As dynamic.js, but the namespaces stay when nobody is in them any more.
'use strict';

process.env.KEEP_CHILDREN = '1';
require('./dynamic.js');
