package daemon

import (
	"context"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/sirupsen/logrus"

	"mdatp-offline-agent/agent"
)

const (
	// tick is how often everything is looked at again, whatever else happens.
	tick = time.Minute
	// daily is how often what is installed is hashed.
	daily = 24 * time.Hour
	// breather is how long a run that changed nothing about what is due, since it
	// could not even be recorded, is followed by none; likewise for keeping the
	// configuration. It doubles with each such run.
	breather = time.Minute
	// longestBreather bounds it.
	longestBreather = time.Hour
	// patience is how long an update that is told to stop may take to. With the
	// rest of a stop it stays within a second.
	patience = 700 * time.Millisecond
	// stuck is how long an update may show nothing at all, a long sync included,
	// before the service manager is left to think that the daemon hangs.
	stuck = time.Hour
	// slept is how much more the machine's uptime must have grown than a timer saw
	// for the machine to have slept, and not only to be busy.
	slept = 5 * time.Second
)

// Daemon is what Run needs. Its fields are set once, before.
type Daemon struct {
	Agent    *agent.Agent
	Log      logrus.FieldLogger
	Changes  <-chan struct{}    // the configuration may have changed; nil: the minute's look has to do
	Reload   <-chan os.Signal   // the administrator says so
	Notify   func(state string) // tells the service manager; nil: there is none
	Watchdog time.Duration      // how often it wants to hear from us; 0: not at all
	Ended    func(agent.Result) // is told how each update ended; nil: nobody is
}

// loop is one run of the daemon.
type loop struct {
	*Daemon
	work   *work     // the job under way; nil for none
	under  string    // that is an update under these settings (agent.Plan), which makes way for others; empty: it is none
	woke   time.Time // when the machine last woke; zero: it has not slept
	quiet  time.Time // no update before; of the clock that only timers have
	force  string    // the settings in force at the last look, as Plan names them
	ran    string    // those of an update that has ended since then; empty: none has
	vain   int       // how many in a row changed nothing about what is due
	hash   time.Time // when to hash next; likewise
	keep   time.Time // the configuration is not kept before; likewise
	plan   agent.Plan
	told   string    // what the service manager was told last
	broken string    // what was wrong with the configuration when that was logged
	unkept string    // why it could not be kept; likewise
	rule   string    // what kept updates off; likewise
	export string    // the metrics file, when the configuration was last good
	stale  bool      // the metrics are to be written
	turn   time.Time // of the last turn
	up     float64   // the uptime then, in seconds
}

// Run is the daemon, until ctx ends. The error is what kept it from starting:
// another daemon runs, or the state directory can't be used.
func (d *Daemon) Run(ctx context.Context) error {
	unlock, err := d.Agent.LockDaemon(ctx)
	if err != nil {
		return err
	}
	l := &loop{Daemon: d, stale: true, hash: time.Now(), turn: time.Now(), up: d.uptime()}
	l.run(ctx)
	return unlock()
}

func (l *loop) run(ctx context.Context) {
	l.look()
	l.notify(daemon.SdNotifyReady)
	l.Log.Info("the daemon has started")
	for {
		l.act(ctx)
		l.tell()
		timer := time.NewTimer(l.rest())
		select {
		case <-ctx.Done():
			timer.Stop()
			l.stop()
			return
		case <-l.Changes:
		case <-l.Reload:
			l.reload()
		case <-l.stepped():
		case <-l.done():
			l.finish()
		case <-timer.C:
		}
		timer.Stop()
		l.look()
	}
}

// look sees how things are: whether the machine slept, what is configured, and
// what is due. It only reads, so that nothing slow keeps the loop from turning.
func (l *loop) look() {
	now, up := time.Now(), l.uptime()
	if gap := time.Duration((up - l.up) * float64(time.Second)); gap-now.Sub(l.turn) > slept {
		l.woke = l.Agent.Now()
		l.Log.Info("the machine has slept")
	}
	l.turn, l.up = now, up
	l.plan = l.Agent.Plan(l.woke)
	l.logChanges()
	if l.plan.Settings != l.force { // kept or not
		l.force = l.plan.Settings
		l.hurry()
	}
	l.breathe()
	if l.under != "" && l.plan.Settings != "" && l.plan.Settings != l.under {
		l.under = ""
		l.Log.Info("the update makes way, since the configuration has changed")
		l.work.cancel() // the next one goes on with what came, if that is still wanted
	}
}

// breathe keeps an update away that is due again right after one has ended, under
// the same settings and in whichever way: what it did could not be recorded, or is
// undone by somebody.
func (l *loop) breathe() {
	if l.ran == "" {
		return
	}
	same := l.ran == l.force
	l.ran = ""
	if !same || l.plan.Rule != "" || l.plan.Due.After(l.Agent.Now()) {
		l.vain = 0
		return
	}
	l.quiet = time.Now().Add(min(breather<<min(l.vain, 10), longestBreather))
	l.vain++
}

// hurry lets the next update begin when it is due, whatever came of those before.
func (l *loop) hurry() { l.quiet, l.vain = time.Time{}, 0 }

// logChanges tells the log once that the configuration is broken, and once that it
// is good again; and the same of what keeps periodic updates off. The metrics show
// it, too.
func (l *loop) logChanges() {
	if l.plan.Broken == nil {
		l.export = l.plan.MetricsFile
	}
	broken := ""
	if l.plan.Broken != nil {
		broken = l.plan.Broken.Error()
	}
	if broken != l.broken {
		l.broken, l.stale = broken, true
		if broken != "" {
			l.Log.WithField(l.plan.Broken.Field()).Error("the configuration is broken")
		} else {
			l.Log.Info("the configuration is good again")
		}
	}
	if l.plan.Rule != l.rule {
		l.rule, l.stale = l.plan.Rule, true
		if l.rule != "" {
			l.Log.Info("no periodic updates, since " + l.rule)
		} else {
			l.Log.Info("periodic updates go on")
		}
	}
}

// act begins what is due, unless something is under way.
func (l *loop) act(ctx context.Context) {
	now := time.Now()
	switch {
	case l.work != nil || ctx.Err() != nil:
	case l.plan.Unkept && !now.Before(l.keep):
		l.work = begin(ctx, "keeping the configuration", l.keepConfiguration)
	case !now.Before(l.hash):
		l.hash = now.Add(daily)
		l.work = begin(ctx, "hashing the installed definitions", l.rehash)
	case l.stale:
		l.stale = false
		path := l.export
		l.work = begin(ctx, "writing metrics", func(ctx context.Context, _ *work) (then func()) {
			l.Agent.ExportMetrics(ctx, path)
			return func() {}
		})
	case l.plan.Rule == "" && !l.Agent.Now().Before(l.plan.Due) && !now.Before(l.quiet):
		l.under = l.plan.Settings
		l.work = begin(ctx, "beginning an update", l.update(l.woke, l.under))
	}
}

// keepConfiguration is the job that keeps the last good configuration.
func (l *loop) keepConfiguration(ctx context.Context, _ *work) (then func()) {
	changed, err := l.Agent.KeepConfiguration(ctx)
	return func() {
		why := ""
		if err != nil {
			l.keep = time.Now().Add(breather)
			why = err.Error()
		}
		if why != "" && why != l.unkept { // once, and not each minute
			l.Log.WithError(err).Warn("the last good configuration can not be kept")
		}
		l.unkept = why
		if changed {
			l.stale = true
			l.Log.Info("the configuration has changed")
		}
	}
}

// rehash is the job that looks whether what is installed is whole.
func (l *loop) rehash(ctx context.Context, _ *work) (then func()) {
	err := l.Agent.Rehash(ctx)
	return func() {
		if err != nil {
			l.stale = true
			l.Log.WithError(err).Error("the installed definitions are damaged, or can not be checked")
		}
	}
}

// update gives the job that is one update.
func (l *loop) update(woke time.Time, settings string) job {
	return func(ctx context.Context, w *work) (then func()) {
		r := l.Agent.Update(ctx, agent.Options{Scheduled: true, Daemon: true, Since: woke, Progress: w})
		madeWay := ctx.Err() != nil
		return func() {
			if !madeWay {
				l.ran = settings
			}
			l.updated(r)
		}
	}
}

// updated takes note of how an update ended. One that made way is followed by
// the next at once.
func (l *loop) updated(r agent.Result) {
	l.under = ""
	r.Log(l.Log)
	if l.Ended != nil {
		l.Ended(r)
	}
}

// done is closed when the job under way has ended.
func (l *loop) done() <-chan struct{} {
	if l.work == nil {
		return nil
	}
	return l.work.ended
}

// stepped has something when the job under way does something else than before.
func (l *loop) stepped() <-chan struct{} {
	if l.work == nil {
		return nil
	}
	return l.work.stepped
}

// finish takes note of how a job ended. The memory that it took is given back at
// once, since there may be nothing to do for hours.
func (l *loop) finish() {
	then := l.work.then
	l.work = nil
	then()
	debug.FreeOSMemory()
}

// reload is what a signal asks for. Everything is looked at anew at each turn
// anyway, so there is nothing more to do than to say so.
func (l *loop) reload() {
	l.notify(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
	l.Log.Info("the configuration is read again, as asked for")
	l.hurry()
	l.keep = time.Time{}
	l.look()
	l.told = ""
	l.notify(daemon.SdNotifyReady)
}

// stop ends what is under way, or leaves it behind: whatever it was doing can be
// cut anywhere, and the next run goes on with it.
func (l *loop) stop() {
	l.notify(daemon.SdNotifyStopping)
	if l.work != nil && !l.work.stop(patience) {
		l.Log.Info("an update was cut off, and the next one goes on with it")
	}
	l.Log.Info("the daemon has stopped")
}

// rest is how long nothing needs to be done.
func (l *loop) rest() time.Duration {
	rest := tick
	if l.Watchdog > 0 {
		rest = min(rest, l.Watchdog/2)
	}
	if l.work == nil && l.plan.Rule == "" {
		rest = min(rest, max(l.plan.Due.Sub(l.Agent.Now()), time.Until(l.quiet), 0))
	}
	return rest
}

// tell tells the service manager what is going on, if that has changed, and that
// the loop turns.
func (l *loop) tell() {
	if text := l.doing(); text != l.told {
		l.told = text
		l.notify("STATUS=" + text)
	}
	if l.Watchdog > 0 && (l.work == nil || l.work.idle() < stuck) {
		l.notify(daemon.SdNotifyWatchdog)
	}
}

// doing says in words what the daemon does, for systemctl status.
func (l *loop) doing() string {
	var text string
	switch {
	case l.work != nil:
		text = l.work.what()
	case l.plan.Rule != "":
		text = "no periodic updates, since " + l.plan.Rule
	default:
		text = "the next update is due at " + l.plan.Due.Local().Format("2006-01-02 15:04:05 MST")
	}
	if l.plan.Broken != nil {
		text += "; " + l.plan.Broken.Error()
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

func (l *loop) notify(state string) {
	if l.Notify != nil {
		l.Notify(state)
	}
}

// uptime is the machine's, in seconds; where nobody tells, no sleep is seen.
func (d *Daemon) uptime() float64 {
	if d.Agent.Uptime == nil {
		return 0
	}
	return d.Agent.Uptime().Seconds
}
