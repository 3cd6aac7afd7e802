// peer is Go Machinery v2 as one side of an interoperability check: `peer worker` serves the tasks below, `peer client` sends
// every kind of work and checks what comes back, `peer state UUID...` prints stored states. Its twin is ../ts.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/RichardKnop/machinery/v2"
	amqpbackend "github.com/RichardKnop/machinery/v2/backends/amqp"
	dynamobackend "github.com/RichardKnop/machinery/v2/backends/dynamodb"
	backendiface "github.com/RichardKnop/machinery/v2/backends/iface"
	memcachebackend "github.com/RichardKnop/machinery/v2/backends/memcache"
	mongobackend "github.com/RichardKnop/machinery/v2/backends/mongo"
	redisbackend "github.com/RichardKnop/machinery/v2/backends/redis"
	amqpbroker "github.com/RichardKnop/machinery/v2/brokers/amqp"
	pubsubbroker "github.com/RichardKnop/machinery/v2/brokers/gcppubsub"
	brokeriface "github.com/RichardKnop/machinery/v2/brokers/iface"
	redisbroker "github.com/RichardKnop/machinery/v2/brokers/redis"
	sqsbroker "github.com/RichardKnop/machinery/v2/brokers/sqs"
	"github.com/RichardKnop/machinery/v2/config"
	eagerlock "github.com/RichardKnop/machinery/v2/locks/eager"
	"github.com/RichardKnop/machinery/v2/tasks"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

var (
	brokerURL   = flag.String("broker", "redis://127.0.0.1:6379", "redis://host:port/db | amqp://... | the queue URL without its name (SQS) | pubsub://project/subscription")
	backendURL  = flag.String("backend", "redis://127.0.0.1:6379", "redis://host:port/db | amqp:// | memcache://host:port | mongodb:// | dynamodb+http://host:port")
	queue       = flag.String("queue", "machinery_tasks", "default queue")
	bindingKey  = flag.String("binding", "machinery_task", "AMQP binding key")
	exchange    = flag.String("exchange", "machinery_exchange", "AMQP exchange")
	concurrency = flag.Int("concurrency", 10, "worker concurrency")
	timeout     = flag.Duration("timeout", 20*time.Second, "how long the client waits for each result")
	endpoint    = flag.String("endpoint", "", "AWS endpoint of an SQS or DynamoDB emulator")
	only        = flag.String("only", "", "comma separated cases of the client")
)

func must[T any](v T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
	return v
}

// redisAddress splits host:port/db.
func redisAddress(text string) (string, int) {
	address, db, found := strings.Cut(text, "/")
	if !found {
		return address, 0
	}
	return address, must(strconv.Atoi(db))
}

// attempt counts the attempts under a key in a file, so that workers which share a queue count together.
func attempt(key string) (int64, error) {
	file, err := os.OpenFile(filepath.Join(os.TempDir(), "machinery-interop-"+key), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	if _, err := file.WriteString("."); err != nil {
		return 0, err
	}
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func newServer() *machinery.Server {
	awsConfig := aws.Config{Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")}
	cnf := &config.Config{
		Broker: *brokerURL, ResultBackend: *backendURL, DefaultQueue: *queue, ResultsExpireIn: 3600, NoUnixSignals: false,
		AMQP:     &config.AMQPConfig{Exchange: *exchange, ExchangeType: "direct", BindingKey: *bindingKey, PrefetchCount: 10},
		Redis:    &config.RedisConfig{NormalTasksPollPeriod: 1000, DelayedTasksPollPeriod: 20, MaxIdle: 10, MaxActive: 100, Wait: true, ReadTimeout: 15, WriteTimeout: 15, ConnectTimeout: 15},
		DynamoDB: &config.DynamoDBConfig{TaskStatesTable: "task_states", GroupMetasTable: "group_metas"},
		SQS:      &config.SQSConfig{WaitTimeSeconds: 1},
	}
	var broker brokeriface.Broker
	switch scheme, rest, _ := strings.Cut(*brokerURL, "://"); scheme {
	case "redis":
		address, db := redisAddress(rest)
		broker = redisbroker.NewGR(cnf, []string{address}, db)
	case "redigo":
		address, db := redisAddress(rest)
		broker = redisbroker.New(cnf, address, "", "", "", db)
	case "amqp":
		broker = amqpbroker.New(cnf)
	case "http", "https":
		cnf.SQS.Client = sqs.NewFromConfig(awsConfig, func(o *sqs.Options) {
			if *endpoint != "" {
				o.BaseEndpoint = aws.String(*endpoint)
			}
		})
		broker = must(sqsbroker.New(cnf))
	case "pubsub":
		project, subscription, _ := strings.Cut(rest, "/")
		broker = must(pubsubbroker.New(cnf, project, subscription))
	default:
		panic("unknown broker " + *brokerURL)
	}
	var backend backendiface.Backend
	switch scheme, rest, _ := strings.Cut(*backendURL, "://"); scheme {
	case "redis":
		address, db := redisAddress(rest)
		backend = redisbackend.NewGR(cnf, []string{address}, db)
	case "redigo":
		address, db := redisAddress(rest)
		backend = redisbackend.New(cnf, address, "", "", "", db)
	case "amqp":
		backend = amqpbackend.New(cnf)
	case "memcache":
		backend = memcachebackend.New(cnf, strings.Split(rest, ","))
	case "mongodb":
		backend = must(mongobackend.New(cnf))
	case "dynamodb+http":
		cnf.DynamoDB.Client = dynamodb.NewFromConfig(awsConfig, func(o *dynamodb.Options) { o.BaseEndpoint = aws.String("http://" + rest) })
		backend = must(dynamobackend.New(cnf))
	default:
		panic("unknown backend " + *backendURL)
	}
	server := machinery.NewServer(cnf, broker, backend, eagerlock.New())
	must(0, server.RegisterTasks(map[string]any{
		"add": func(args ...int64) (int64, error) {
			sum := int64(0)
			for _, a := range args {
				sum += a
			}
			return sum, nil
		},
		"multiply": func(args ...int64) (int64, error) {
			p := int64(1)
			for _, a := range args {
				p *= a
			}
			return p, nil
		},
		"sum": func(n []int64) (int64, error) {
			var s int64
			for _, x := range n {
				s += x
			}
			return s, nil
		},
		"concat": func(s []string) (string, error) { return strings.Join(s, ""), nil },
		"split":  func(s string) ([]string, error) { return strings.Split(s, ""), nil },
		"return_just_error": func(msg string, fail bool) error {
			if fail {
				return errors.New(msg)
			}
			return nil
		},
		"return_multiple_values": func(a, b string, fail bool) (string, string, error) {
			if fail {
				return "", "", errors.New("some error")
			}
			return a, b, nil
		},
		"panic":        func() (string, error) { panic(errors.New("oops")) },
		"delay_test":   func() (int64, error) { return time.Now().UTC().UnixNano(), nil },
		"echo_int64":   func(v int64) (int64, error) { return v, nil },
		"echo_uint64":  func(v uint64) (uint64, error) { return v, nil },
		"echo_float64": func(v float64) (float64, error) { return v, nil },
		"echo_float32": func(v float32) (float32, error) { return v, nil },
		"echo_string":  func(v string) (string, error) { return v, nil },
		"echo_bool":    func(v bool) (bool, error) { return v, nil },
		"echo_bytes":   func(v []byte) ([]byte, error) { return v, nil },
		"echo_strings": func(v []string) ([]string, error) { return v, nil },
		"echo_floats":  func(v []float64) ([]float64, error) { return v, nil },
		"echo_int64s":  func(v []int64) ([]int64, error) { return v, nil },
		"log_error": func(msg string, rest ...string) (string, error) {
			return "logged " + msg + strings.Join(rest, "|"), nil
		},
		"fail_until": func(key string, n int64) (int64, error) {
			attempts, err := attempt(key)
			if err == nil && attempts < n {
				err = fmt.Errorf("attempt %d", attempts)
			}
			return attempts, err
		},
		"retry_later_until": func(key string, n int64) (int64, error) {
			attempts, err := attempt(key)
			if err == nil && attempts < n {
				err = tasks.NewErrRetryTaskLater("later", 300*time.Millisecond)
			}
			return attempts, err
		},
	}))
	return server
}

func arg(t string, v any) tasks.Arg { return tasks.Arg{Type: t, Value: v} }
func sig(name string, args ...tasks.Arg) *tasks.Signature {
	s, _ := tasks.NewSignature(name, args)
	return s
}
func ints(name string, n ...int64) *tasks.Signature {
	s := sig(name)
	for _, v := range n {
		s.Args = append(s.Args, arg("int64", v))
	}
	return s
}

func client(server *machinery.Server) {
	ctx := context.Background()
	wait := func(s *tasks.Signature) (string, error) {
		r, err := server.SendTaskWithContext(ctx, s)
		if err != nil {
			return "", err
		}
		v, err := r.GetWithTimeout(*timeout, 10*time.Millisecond)
		return show(v), err
	}
	type check struct {
		name, want string
		run        func() (string, error)
	}
	one := func(name, want string, s func() *tasks.Signature) check {
		return check{name, want, func() (string, error) { return wait(s()) }}
	}
	rk := fmt.Sprint(time.Now().UnixNano())
	checks := []check{
		one("task", "2", func() *tasks.Signature { return ints("add", 1, 1) }),
		one("sum", "3", func() *tasks.Signature { return sig("sum", arg("[]int64", []int64{1, 2})) }),
		one("concat", "abc", func() *tasks.Signature { return sig("concat", arg("[]string", []string{"a", "b", "c"})) }),
		one("split", "[a b]", func() *tasks.Signature { return sig("split", arg("string", "ab")) }),
		one("just error fails", "error: Test error", func() *tasks.Signature {
			return sig("return_just_error", arg("string", "Test error"), arg("bool", true))
		}),
		one("just error succeeds", "()", func() *tasks.Signature { return sig("return_just_error", arg("string", ""), arg("bool", false)) }),
		one("two values", "foo, bar", func() *tasks.Signature {
			return sig("return_multiple_values", arg("string", "foo"), arg("string", "bar"), arg("bool", false))
		}),
		one("two values fail", "error: some error", func() *tasks.Signature {
			return sig("return_multiple_values", arg("string", ""), arg("string", ""), arg("bool", true))
		}),
		one("panic", "error: oops", func() *tasks.Signature { return sig("panic") }),
		one("max int64", "9223372036854775807", func() *tasks.Signature { return sig("echo_int64", arg("int64", int64(9223372036854775807))) }),
		one("min int64", "-9223372036854775808", func() *tasks.Signature { return sig("echo_int64", arg("int64", int64(-9223372036854775808))) }),
		one("max uint64", "18446744073709551615", func() *tasks.Signature { return sig("echo_uint64", arg("uint64", uint64(18446744073709551615))) }),
		one("whole float64", "3", func() *tasks.Signature { return sig("echo_float64", arg("float64", 3.0)) }),
		one("float64", "0.1", func() *tasks.Signature { return sig("echo_float64", arg("float64", 0.1)) }),
		one("large float64", "1e+21", func() *tasks.Signature { return sig("echo_float64", arg("float64", 1e21)) }),
		one("float32", "0.1", func() *tasks.Signature { return sig("echo_float32", arg("float32", float32(0.1))) }),
		one("string", "<a&b> \u2028 日本 😀 \x01\\\"", func() *tasks.Signature { return sig("echo_string", arg("string", "<a&b> \u2028 日本 😀 \x01\\\"")) }),
		one("bool", "true", func() *tasks.Signature { return sig("echo_bool", arg("bool", true)) }),
		one("bytes", "[0 1 254 255]", func() *tasks.Signature { return sig("echo_bytes", arg("[]byte", []byte{0, 1, 254, 255})) }),
		one("strings", "[a  ü]", func() *tasks.Signature { return sig("echo_strings", arg("[]string", []string{"a", "", "ü"})) }),
		one("floats", "[1 1.5]", func() *tasks.Signature { return sig("echo_floats", arg("[]float64", []float64{1, 1.5})) }),
		one("int64s", "[9007199254740993 -1]", func() *tasks.Signature { return sig("echo_int64s", arg("[]int64", []int64{9007199254740993, -1})) }),
		one("retry", "3", func() *tasks.Signature {
			s := sig("fail_until", arg("string", "r"+rk), arg("int64", int64(3)))
			s.RetryCount = 3
			return s
		}),
		one("retry exhausted", "error: attempt 2", func() *tasks.Signature {
			s := sig("fail_until", arg("string", "x"+rk), arg("int64", int64(9)))
			s.RetryCount = 1
			return s
		}),
		one("retry later", "3", func() *tasks.Signature {
			return sig("retry_later_until", arg("string", "l"+rk), arg("int64", int64(3)))
		}),
		{"eta", "true", func() (string, error) {
			eta := time.Now().UTC().Add(1500 * time.Millisecond)
			s := sig("delay_test")
			s.ETA = &eta
			v, err := wait(s)
			if err != nil {
				return v, err
			}
			var ns int64
			fmt.Sscan(v, &ns)
			late := time.Duration(ns - eta.UnixNano())
			if late < 0 || late > 3*time.Second {
				return fmt.Sprintf("ran %v after its ETA", late), nil
			}
			return "true", nil
		}},
		{"success callback", "5", func() (string, error) {
			s, next := ints("add", 1, 1), ints("add", 3)
			s.OnSuccess = []*tasks.Signature{next}
			if _, err := server.SendTask(s); err != nil {
				return "", err
			}
			return get(server, next)
		}},
		{"immutable callback", "3", func() (string, error) {
			s, next := ints("add", 1, 1), ints("add", 3)
			s.Immutable = true
			s.OnSuccess = []*tasks.Signature{next}
			if _, err := server.SendTask(s); err != nil {
				return "", err
			}
			return get(server, next)
		}},
		{"error callback", "logged Test errortail", func() (string, error) {
			s, next := sig("return_just_error", arg("string", "Test error"), arg("bool", true)), sig("log_error", arg("string", "tail"))
			s.OnError = []*tasks.Signature{next}
			if _, err := server.SendTask(s); err != nil {
				return "", err
			}
			return get(server, next)
		}},
		{"chain", "68", func() (string, error) {
			chain, _ := tasks.NewChain(ints("add", 1, 1), ints("add", 2, 2), ints("add", 5, 6), ints("multiply", 4))
			r, err := server.SendChain(chain)
			if err != nil {
				return "", err
			}
			v, err := r.GetWithTimeout(*timeout, 10*time.Millisecond)
			return show(v), err
		}},
		{"group", "2 4 11", func() (string, error) {
			group, _ := tasks.NewGroup(ints("add", 1, 1), ints("add", 2, 2), ints("add", 5, 6))
			rs, err := server.SendGroup(group, 0)
			if err != nil {
				return "", err
			}
			var out []string
			for _, r := range rs {
				v, err := r.GetWithTimeout(*timeout, 10*time.Millisecond)
				if err != nil {
					return "", err
				}
				out = append(out, show(v))
			}
			return strings.Join(out, " "), nil
		}},
		{"chord", "88", func() (string, error) {
			return chord(server, ints("multiply"), ints("add", 1, 1), ints("add", 2, 2), ints("add", 5, 6))
		}},
		{"chord of 50", "1275", func() (string, error) {
			var members []*tasks.Signature
			for i := int64(1); i <= 50; i++ {
				members = append(members, ints("add", i))
			}
			return chord(server, ints("add"), members...)
		}},
		{"chord order", "abc", func() (string, error) {
			cb := sig("log_error")
			v, err := chord(server, cb, sig("echo_string", arg("string", "a")), sig("echo_string", arg("string", "b")), sig("echo_string", arg("string", "c")))
			return strings.NewReplacer("logged ", "", "|", "").Replace(v), err
		}},
		{"chord immutable callback", "7", func() (string, error) {
			cb := ints("add", 7)
			cb.Immutable = true
			return chord(server, cb, ints("add", 1), ints("add", 2))
		}},
		{"chord member fails", "error: member", func() (string, error) {
			return chord(server, ints("add"), ints("add", 1), sig("return_just_error", arg("string", "member"), arg("bool", true)))
		}},
		one("wrong type", "error: Reflect task args error: x is not int64", func() *tasks.Signature { return sig("echo_int64", arg("int64", "x")) }),
		one("unsupported type", "error: Reflect task args error: map is not one of supported types", func() *tasks.Signature { return sig("echo_int64", arg("map", 1)) }),
	}
	failed := 0
	wanted := map[string]bool{}
	for _, n := range strings.Split(*only, ",") {
		if n != "" {
			wanted[n] = true
		}
	}
	for _, c := range checks {
		if len(wanted) > 0 && !wanted[c.name] {
			continue
		}
		start := time.Now()
		got, err := c.run()
		if err != nil {
			got = "error: " + err.Error()
		}
		ok := got == c.want
		if !ok {
			failed++
		}
		line, _ := json.Marshal(map[string]any{"case": c.name, "ok": ok, "got": got, "want": c.want, "ms": time.Since(start).Milliseconds()})
		fmt.Println(string(line))
	}
	fmt.Printf("%d failed\n", failed)
	if failed > 0 {
		os.Exit(1)
	}
}

func chord(server *machinery.Server, callback *tasks.Signature, members ...*tasks.Signature) (string, error) {
	group, _ := tasks.NewGroup(members...)
	c, _ := tasks.NewChord(group, callback)
	r, err := server.SendChord(c, 10)
	if err != nil {
		return "", err
	}
	type answer struct {
		v   []reflect.Value
		err error
	}
	done := make(chan answer, 1)
	go func() { v, err := r.Get(10 * time.Millisecond); done <- answer{v, err} }()
	select {
	case a := <-done:
		return show(a.v), a.err
	case <-time.After(*timeout):
		return "", errors.New("chord: timeout")
	}
}

func get(server *machinery.Server, s *tasks.Signature) (string, error) {
	deadline := time.Now().Add(*timeout)
	for time.Now().Before(deadline) {
		state, err := server.GetBackend().GetState(s.UUID)
		if err == nil && state.IsSuccess() {
			v, err := tasks.ReflectTaskResults(state.Results)
			return show(v), err
		}
		if err == nil && state.IsFailure() {
			return "", errors.New(state.Error)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return "", errors.New("callback: timeout")
}

func show(values []reflect.Value) string {
	if len(values) == 0 {
		return "()"
	}
	var out []string
	for _, v := range values {
		out = append(out, fmt.Sprintf("%v", v.Interface()))
	}
	return strings.Join(out, ", ")
}

func main() {
	mode := "client"
	if len(os.Args) > 1 {
		mode = os.Args[1]
		os.Args = append(os.Args[:1], os.Args[2:]...)
	}
	flag.Parse()
	server := newServer()
	switch mode {
	case "worker":
		if err := server.NewWorker("go-peer", *concurrency).Launch(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	case "client":
		client(server)
	case "state":
		for _, id := range flag.Args() {
			s, err := server.GetBackend().GetState(id)
			b, _ := json.Marshal(s)
			fmt.Println(id, string(b), err)
		}
	}
}
