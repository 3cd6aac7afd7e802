// Package bench is what every Go program of the benchmarks does: it reads requests, measures its system, and answers. A new
// system is a System. Its twin for Node is ../../src/programs/serve.ts, which explains more.
package bench

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Config is the program's only argument.
type Config struct {
	Redis string `json:"redis"` // a URL
	// AMQP is RabbitMQ's URL, where that is the broker, and Queue the queue there.
	AMQP  string `json:"amqp"`
	Queue string `json:"queue"`
	// Results are in Redis unless this is "amqp".
	Results string `json:"results"`
	// PollMs is how often a Go client looks for a result.
	PollMs                int `json:"pollMs"`
	NormalTasksPollPeriod int `json:"normalTasksPollPeriod"`
}

// Address is the Redis's host:port.
func (c Config) Address() string { return strings.TrimPrefix(c.Redis, "redis://") }

// Sent is a task that was sent.
type Sent any

// Add is the task: it adds, and says that it ran.
type Add func(a, b int64) int64

// System is one that is measured.
type System interface {
	// Send sends add(a, 1), at once or for a time.
	Send(a int64, at *time.Time) (Sent, error)
	// Result waits for a result.
	Result(sent Sent) (int64, error)
	// Stored is the result, if it is stored.
	Stored(sent Sent) (int64, bool)
	// Chord sends add(0, 1), add(1, 1) … and a callback that adds up what they return, and answers that sum.
	Chord(size int) (int64, error)
	StartWorker(concurrency int, add Add) Worker
}

// Worker is a running one.
type Worker interface {
	// Settled says, when all tasks have run, whether their results are stored and their messages gone.
	Settled(ran int) bool
	Stop()
}

type request struct {
	Do                      string
	Mode                    string
	N, Concurrency, Size    int
	TaskMs                  int
	Report                  bool
	LeadMs, OverMs, LimitMs float64
}

type answer map[string]any

type task struct {
	a    int64
	sent Sent
}

type program struct {
	system System
	module string
	worker Worker

	mutex   sync.Mutex
	next    int64
	sent    []task
	runs    [][2]float64
	awaited int
	reached chan struct{}
	output  sync.Mutex
}

const inFlight = 100

// Serve answers requests until stdin ends. The module is the system's, for its version.
func Serve(module string, newSystem func(Config) System) {
	var config Config
	if err := json.Unmarshal([]byte(os.Args[1]), &config); err != nil {
		panic(err)
	}
	p := &program{system: newSystem(config), module: module}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var r request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			panic(err)
		}
		got, err := p.do(r)
		if err != nil {
			got = answer{"error": err.Error()}
		}
		p.write(got)
	}
}

func (p *program) do(r request) (answer, error) {
	switch r.Do {
	case "hello":
		return answer{"versions": map[string]string{p.module: version(p.module), "go": strings.TrimPrefix(runtime.Version(), "go")}}, nil
	case "enqueue":
		return p.enqueue(r)
	case "drain":
		return p.drain(r)
	case "work":
		p.worker = p.system.StartWorker(r.Concurrency, p.add(r))
		return answer{}, nil
	case "stop":
		p.worker.Stop()
		return answer{}, nil
	case "roundtrip":
		return timed(func() error { return lanes(inFlight, r.N, func(int) error { _, err := p.ping(); return err }) })
	case "latency":
		return p.latency(r)
	case "chord":
		return p.chord(r)
	case "delay":
		return p.delay(r)
	case "runs":
		p.mutex.Lock()
		defer p.mutex.Unlock()
		return answer{"runs": append([][2]float64{}, p.runs...)}, nil
	case "check":
		return p.check()
	}
	return nil, fmt.Errorf("It cannot %q", r.Do)
}

func (p *program) enqueue(r request) (answer, error) {
	width := map[string]int{"one": 1, "flight": inFlight}[r.Mode]
	if width == 0 {
		return nil, fmt.Errorf("It cannot enqueue %q", r.Mode)
	}
	return timed(func() error { return lanes(width, r.N, func(int) error { return p.send(p.number(), nil) }) })
}

func (p *program) drain(r request) (answer, error) {
	p.mutex.Lock()
	before := len(p.runs)
	p.awaited, p.reached = before+r.N, make(chan struct{})
	p.mutex.Unlock()
	return timed(func() error {
		p.worker = p.system.StartWorker(r.Concurrency, p.add(request{}))
		<-p.reached
		for !p.worker.Settled(r.N) {
			time.Sleep(time.Millisecond)
		}
		return nil
	})
}

func (p *program) latency(r request) (answer, error) {
	pings := [][3]float64{}
	end := now() + r.LimitMs
	for len(pings) < r.N && now() < end {
		sentAt := now()
		a, err := p.ping()
		if err != nil {
			return nil, err
		}
		pings = append(pings, [3]float64{float64(a), sentAt, now()})
		time.Sleep(5 * time.Millisecond)
	}
	return answer{"pings": pings}, nil
}

func (p *program) chord(r request) (answer, error) {
	return timed(func() error {
		sum, err := p.system.Chord(r.Size)
		if err == nil && sum != int64(r.Size*(r.Size+1)/2) {
			err = fmt.Errorf("A chord of %d answered %d", r.Size, sum)
		}
		return err
	})
}

func (p *program) delay(r request) (answer, error) {
	base := now() + r.LeadMs
	etas := make([][2]float64, r.N)
	err := lanes(inFlight, r.N, func(i int) error {
		at := time.UnixMilli(int64(base + float64(i)*r.OverMs/float64(r.N)))
		a := p.number()
		etas[i] = [2]float64{float64(a), float64(at.UnixMilli())}
		return p.send(a, &at)
	})
	return answer{"etas": etas}, err
}

func (p *program) check() (answer, error) {
	var stored atomic.Int64
	err := lanes(inFlight, len(p.sent), func(i int) error {
		result, ok := p.system.Stored(p.sent[i].sent)
		if !ok {
			return nil
		}
		stored.Add(1)
		if result != p.sent[i].a+1 {
			return fmt.Errorf("The result of %d + 1 is %d", p.sent[i].a, result)
		}
		return nil
	})
	return answer{"stored": stored.Load()}, err
}

func (p *program) number() int64 {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.next++
	return p.next - 1
}

func (p *program) send(a int64, at *time.Time) error {
	sent, err := p.system.Send(a, at)
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.sent = append(p.sent, task{a, sent})
	return err
}

func (p *program) ping() (int64, error) {
	a := p.number()
	sent, err := p.system.Send(a, nil)
	if err != nil {
		return a, err
	}
	result, err := p.system.Result(sent)
	if err == nil && result != a+1 {
		err = fmt.Errorf("The result of %d + 1 is %d", a, result)
	}
	return a, err
}

func (p *program) add(r request) Add {
	return func(a, b int64) int64 {
		p.mutex.Lock()
		p.runs = append(p.runs, [2]float64{float64(a), now()})
		if len(p.runs) == p.awaited {
			close(p.reached)
		}
		p.mutex.Unlock()
		if r.TaskMs > 0 {
			if r.Report {
				p.write(answer{"report": "began", "a": a})
			}
			time.Sleep(time.Duration(r.TaskMs) * time.Millisecond)
			if r.Report {
				p.write(answer{"report": "ended", "a": a})
			}
		}
		return a + b
	}
}

func (p *program) write(line answer) {
	text, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	p.output.Lock()
	defer p.output.Unlock()
	os.Stdout.Write(append(text, '\n'))
}

// lanes does n things, so many at a time.
func lanes(width, n int, work func(i int) error) error {
	var next atomic.Int64
	errs := make([]error, width)
	var all sync.WaitGroup
	for lane := range width {
		all.Add(1)
		go func() {
			defer all.Done()
			for i := int(next.Add(1)) - 1; i < n && errs[lane] == nil; i = int(next.Add(1)) - 1 {
				errs[lane] = work(i)
			}
		}()
	}
	all.Wait()
	return errors.Join(errs...)
}

func timed(work func() error) (answer, error) {
	start := time.Now()
	err := work()
	return answer{"ms": float64(time.Since(start).Nanoseconds()) / 1e6}, err
}

func now() float64 { return float64(time.Now().UnixNano()) / 1e6 }

func version(module string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dependency := range info.Deps {
			if dependency.Path == module {
				return strings.TrimPrefix(dependency.Version, "v")
			}
		}
	}
	return "?"
}
