module machinery.test/benchmarks/bench

go 1.24
