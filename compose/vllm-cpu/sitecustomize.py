# Read by every interpreter at start-up. Importing vLLM creates some nine thousand modules' worth of objects that
# live for ever; with Python's default threshold the garbage collector walks them dozens of times and frees nothing.
import gc

gc.set_threshold(200_000, 20, 100)
