"""Precisions of arithmetic and of weights, as options, tables and files name them."""

FLOAT32, BFLOAT16, FLOAT16, INT8 = "float32", "bfloat16", "float16", "int8"
