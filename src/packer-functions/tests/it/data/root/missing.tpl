a ${b} ${naem}
