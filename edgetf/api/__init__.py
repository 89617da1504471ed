"""The functions of `import edgetf`. In: live models, arrays and paths. Out: frozen results, keyed by variant.

The command line is built on these functions. Each takes its command's options under the same names. Work that changes
TensorFlow's global state runs in a child process, so that a notebook is not affected.
"""
