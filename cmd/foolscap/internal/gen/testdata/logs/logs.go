// The remote interfaces of the Python module foolscap.logging.interfaces, as "foolscap gen --from-python" has read them.

package logs

import (
	"context"

	"github.com/foolscap-go/foolscap/protocol/banana"
	"github.com/foolscap-go/foolscap/tub"
)

//go:generate go tool foolscap gen $GOFILE

// LogObserver is RILogObserver of foolscap.logging.interfaces.
//
//foolscap:interface RILogObserver.foolscap.lothar.com
type LogObserver interface {
	Msg(ctx context.Context, a LogObserverMsgArgs) (tub.None, error)
	Done(ctx context.Context, a tub.None) (tub.None, error)
	NewIncident(ctx context.Context, a LogObserverNewIncidentArgs) (tub.None, error)
	DoneWithIncidentCatchup(ctx context.Context, a tub.None) (tub.None, error)
}

// LogObserverMsgArgs are the arguments of [LogObserver.Msg].
type LogObserverMsgArgs struct {
	Logmsg *banana.Dict
}

// LogObserverNewIncidentArgs are the arguments of [LogObserver.NewIncident].
type LogObserverNewIncidentArgs struct {
	Name    any
	Trigger *banana.Dict
}

// LogFile is RILogFile of foolscap.logging.interfaces.
//
//foolscap:interface RILogFile.foolscap.lothar.com
type LogFile interface {
	GetHeader(ctx context.Context, a tub.None) (LogFileGetHeaderResult, error)
	GetEvents(ctx context.Context, a LogFileGetEventsArgs) (tub.None, error)
}

// LogFileGetHeaderResultItem2 is a tuple.
type LogFileGetHeaderResultItem2 struct {
	_     struct{} `foolscap:",tuple"`
	Item0 int64    `schema:"int"`
	Item1 int64    `schema:"int"`
}

// LogFileGetHeaderResultItem3 is a tuple.
type LogFileGetHeaderResultItem3 struct {
	_     struct{} `foolscap:",tuple"`
	Item0 int64    `schema:"int"`
	Item1 int64    `schema:"int"`
}

// LogFileGetHeaderResult is a tuple.
type LogFileGetHeaderResult struct {
	_     struct{} `foolscap:",tuple"`
	Item0 any
	Item1 int64 `schema:"int"`
	Item2 LogFileGetHeaderResultItem2
	Item3 LogFileGetHeaderResultItem3
	Item4 int64        `schema:"int"`
	Item5 *banana.Dict `schema:"dict(any, int)"`
}

// LogFileGetEventsArgs are the arguments of [LogFile.GetEvents].
type LogFileGetEventsArgs struct {
	Receiver LogObserver
}

// Subscription is RISubscription of foolscap.logging.interfaces.
//
//foolscap:interface RISubscription.foolscap.lothar.com
type Subscription interface {
	Unsubscribe(ctx context.Context, a tub.None) (tub.None, error)
}

// LogPublisher is RILogPublisher of foolscap.logging.interfaces.
//
//foolscap:interface RILogPublisher.foolscap.lothar.com
type LogPublisher interface {
	GetVersions(ctx context.Context, a tub.None) (*banana.Dict, error)
	//foolscap:result int
	GetPid(ctx context.Context, a tub.None) (int64, error)
	SubscribeToAll(ctx context.Context, a LogPublisherSubscribeToAllArgs) (Subscription, error)
	Unsubscribe(ctx context.Context, a LogPublisherUnsubscribeArgs) (tub.None, error)
	EnumerateLogfiles(ctx context.Context, a tub.None) ([]LogFile, error)
	//foolscap:result dict(any, dict(any, any))
	ListIncidents(ctx context.Context, a LogPublisherListIncidentsArgs) (*banana.Dict, error)
	SubscribeToIncidents(ctx context.Context, a LogPublisherSubscribeToIncidentsArgs) (Subscription, error)
	GetIncident(ctx context.Context, a LogPublisherGetIncidentArgs) (LogPublisherGetIncidentResult, error)
}

// LogPublisherSubscribeToAllArgs are the arguments of [LogPublisher.SubscribeToAll].
type LogPublisherSubscribeToAllArgs struct {
	Observer LogObserver
	CatchUp  bool `foolscap:",optional" default:"false"`
}

// LogPublisherUnsubscribeArgs are the arguments of [LogPublisher.Unsubscribe].
type LogPublisherUnsubscribeArgs struct {
	Subscription any
}

// LogPublisherListIncidentsArgs are the arguments of [LogPublisher.ListIncidents].
type LogPublisherListIncidentsArgs struct {
	Since any `foolscap:",optional" default:"\"\""`
}

// LogPublisherSubscribeToIncidentsArgs are the arguments of [LogPublisher.SubscribeToIncidents].
type LogPublisherSubscribeToIncidentsArgs struct {
	Observer LogObserver
	CatchUp  bool `foolscap:",optional" default:"false"`
	Since    any  `foolscap:",optional" default:"\"\""`
}

// LogPublisherGetIncidentArgs are the arguments of [LogPublisher.GetIncident].
type LogPublisherGetIncidentArgs struct {
	IncidentName any
}

// LogPublisherGetIncidentResult is a tuple.
type LogPublisherGetIncidentResult struct {
	_     struct{} `foolscap:",tuple"`
	Item0 *banana.Dict
	Item1 []*banana.Dict
}

// LogGatherer is RILogGatherer of foolscap.logging.interfaces.
//
//foolscap:interface RILogGatherer.foolscap.lothar.com
type LogGatherer interface {
	Logport(ctx context.Context, a LogGathererLogportArgs) (tub.None, error)
}

// LogGathererLogportArgs are the arguments of [LogGatherer.Logport].
type LogGathererLogportArgs struct {
	Nodeid  any
	Logport LogPublisher
}
