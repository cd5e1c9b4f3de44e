//! `clawdbot chat`: messages go to the gateway and answers come back, in a terminal, from a pipe or one at a time.
//! Nothing is decided here; who may say what is the assistant's business.

mod exchange;
mod input;
mod screen;
mod turn;
mod typed;

use std::cell::RefCell;
use std::collections::HashSet;
use std::io::{self, IsTerminal, Stderr, Stdout};
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::time::Duration;

use clawdbot_identity::text::sanitize_line;
use clawdbot_proto::v1::chat_client::ChatClient;
use clawdbot_proto::v1::{QuestionRow, SendRequest, StopRequest};
use tokio::select;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::sleep;

use self::exchange::{Exchange, Interrupts};
use self::input::{Given, Input, MAX_MESSAGE, too_long, whole};
use self::screen::{Form, Screen};
use self::turn::End;
use self::typed::{HELP, Typed, typed};
use crate::approvals;
use crate::dial::{Server, Sockets};
use crate::failure::{EXIT_FAILURE, EXIT_NOT_RUNNING, EXIT_USAGE, Failure};
use crate::out::Out;

/// How long a gateway may be silent before a script is told.
const PATIENCE: Duration = Duration::from_secs(60);
/// Ctrl-C, as shells report it.
const EXIT_INTERRUPTED: u8 = 130;
const PROMPT: &str = "> ";
/// How often is looked for calls that wait for the person's word, while an answer is waited for.
const QUESTIONS: Duration = Duration::from_secs(1);

/// A conversation with the assistant.
pub struct Chat {
    /// Where it listens.
    pub sockets: Sockets,
    /// How to show things.
    pub out: Out,
    /// Name of the conversation.
    pub session: String,
    /// Where typed lines are remembered.
    pub history: PathBuf,
    /// Whether tool calls are shown.
    pub tools: bool,
}

type Terminal = Screen<Stdout, Stderr>;
/// What was done, or why not.
type Told = Result<String, Failure>;
type Reading<'a> = Pin<Box<dyn Future<Output = io::Result<Given>> + 'a>>;

/// The person at the keyboard.
struct Keys<'a> {
    input: &'a Input,
    /// A line that is being typed and was not needed yet.
    begun: Option<Reading<'a>>,
}

impl Keys<'_> {
    /// The next line. Nothing is lost when the future is dropped.
    async fn next(&mut self) -> io::Result<Given> {
        let input = self.input;
        let given = self
            .begun
            .get_or_insert_with(|| Box::pin(input.next()))
            .await;
        self.begun = None;
        given
    }
}

impl Chat {
    /// Sends one message and prints the answer. `-` is the whole of standard input.
    ///
    /// # Errors
    /// When nothing is running, the message cannot be one, or it gets no answer.
    pub async fn once(&self, message: &str) -> Result<u8, Failure> {
        let text = match message {
            "-" => whole(io::stdin().lock())?,
            text if text.len() > MAX_MESSAGE => Err(too_long()),
            text => Ok(text.to_owned()),
        };
        let text = text.and_then(|text| match text.trim().is_empty() {
            true => Err("the message is empty".to_owned()),
            false => Ok(text),
        });
        let text = text.map_err(|why| Failure::new("message", why).exit(EXIT_USAGE))?;
        let mut screen = self.screen(Form::Whole);
        let mut interrupts = interrupts()?;
        let request = self.request(text)?;
        match self
            .exchange(&mut screen, &mut interrupts, &request, Some(PATIENCE), None)
            .await?
        {
            Some(End::Answer(answer)) => screen.answer(&request.message_id, &answer)?,
            Some(End::Failed(failed)) => return Err(Failure::new(&failed.code, failed.message)),
            None => return Err(interrupted()),
        }
        Ok(0)
    }

    /// Talks until the person leaves or the input ends.
    ///
    /// # Errors
    /// When nothing is running, or the connection is lost for good and nobody is there to try again.
    pub async fn talk(&mut self) -> Result<u8, Failure> {
        self.sockets.open(Server::Gateway).await?;
        let live = io::stdout().is_terminal() && !self.out.json;
        let person = live && io::stdin().is_terminal();
        let mut screen = self.screen(if live { Form::Live } else { Form::Whole });
        let mut interrupts = interrupts()?;
        let input = if person {
            let hello = format!(
                "conversation {}; /help lists the commands, Ctrl-D leaves",
                self.session
            );
            screen.remark(&hello)?;
            Input::terminal(PROMPT, self.history.clone())?
        } else {
            Input::lines()?
        };
        let mut keys = Keys {
            input: &input,
            begun: None,
        };
        let mut unanswered = false;
        loop {
            let given = select! {
                given = keys.next() => given?,
                // At the prompt the editor has Ctrl-C; a late one that was meant for the last answer ends nothing.
                () = interrupts.next(), if !person => return Err(interrupted()),
            };
            let answered = match given {
                Given::End => break,
                Given::Cleared => true,
                Given::Refused(why) => {
                    screen.say(&Failure::new("message", why).text(self.out.err))?;
                    false
                }
                Given::Line(line) => match self
                    .line(
                        &line,
                        &mut screen,
                        &mut interrupts,
                        person.then_some(&mut keys),
                    )
                    .await?
                {
                    Some(answered) => answered,
                    None => break,
                },
            };
            unanswered |= !answered;
        }
        Ok(if unanswered && !person {
            EXIT_FAILURE
        } else {
            0
        })
    }

    /// Does what a line says: whether it went well, or `None` to leave.
    async fn line(
        &mut self,
        line: &str,
        screen: &mut Terminal,
        interrupts: &mut Interrupts,
        keys: Option<&mut Keys<'_>>,
    ) -> Result<Option<bool>, Failure> {
        let person = keys.is_some();
        let text = match typed(line) {
            Typed::Nothing => return Ok(Some(true)),
            Typed::Quit => return Ok(None),
            Typed::Help => {
                screen.say(HELP)?;
                return Ok(Some(true));
            }
            Typed::Stop => return self.tell(self.stop().await?, screen).map(Some),
            Typed::Word(id, allow) => {
                return self.tell(self.word(&id, allow).await, screen).map(Some);
            }
            Typed::Verbose(wanted, text) => {
                let tools = wanted.unwrap_or(!screen.tools());
                screen.set_tools(tools);
                match wanted {
                    Some(_) => text,
                    None => format!("/verbose {}", if tools { "on" } else { "off" }),
                }
            }
            Typed::Message(text) => text,
        };
        let request = self.request(text)?;
        interrupts.forget();
        let patience = if person { None } else { Some(PATIENCE) };
        let exchange = self.exchange(screen, interrupts, &request, patience, keys);
        match exchange.await {
            Ok(Some(End::Answer(answer))) => screen.answer(&request.message_id, &answer)?,
            Ok(Some(End::Failed(failed))) => {
                screen.failed(&request.message_id, &failed)?;
                return Ok(Some(false));
            }
            Ok(None) if person => {
                screen.remark("not waiting for it; what was accepted is answered all the same")?
            }
            Ok(None) => return Err(interrupted()),
            Err(failure) if failure.is_closed_output() => return Err(failure),
            Err(failure) if !person && failure.exit == EXIT_NOT_RUNNING => return Err(failure),
            Err(failure) => {
                screen.refused(&request.message_id, &failure)?;
                return Ok(Some(false));
            }
        }
        Ok(Some(true))
    }

    async fn exchange(
        &self,
        screen: &mut Terminal,
        interrupts: &mut Interrupts,
        request: &SendRequest,
        patience: Option<Duration>,
        mut keys: Option<&mut Keys<'_>>,
    ) -> Result<Option<End>, Failure> {
        let screen = RefCell::new(screen);
        let show = |show| screen.borrow_mut().show(show);
        let exchange =
            Exchange::new(&self.sockets, interrupts, show, patience, request.clone()).run();
        let mut exchange = pin!(exchange);
        let mut asked = HashSet::new();
        loop {
            let typing = async {
                match &mut keys {
                    Some(keys) if !asked.is_empty() => keys.next().await,
                    _ => std::future::pending().await,
                }
            };
            let row = select! {
                end = &mut exchange => return end,
                given = typing => {
                    if let Some(told) = self.meanwhile(given?).await? {
                        self.tell(told, &mut screen.borrow_mut())?;
                    }
                    continue;
                }
                row = self.question(&asked) => row,
            };
            let here = match keys {
                Some(_) => format!("type /approve {0} or /deny {0}", row.id),
                None => format!(
                    "run `clawdbot approvals approve {0}` or `clawdbot approvals deny {0}`",
                    row.id
                ),
            };
            let mut text = format!("May the assistant call {}?\n", row.tool);
            for line in row
                .what
                .lines()
                .chain(row.reasons.iter().map(String::as_str))
            {
                text.push_str(&format!("  {}\n", sanitize_line(line)));
            }
            text.push_str(&format!("To answer, {here}.\n"));
            screen.borrow_mut().say(&text)?;
            asked.insert(row.id);
        }
    }

    /// What is typed while an answer is waited for, because a call waits for the person's word; what to say about it.
    async fn meanwhile(&self, given: Given) -> Result<Option<Told>, Failure> {
        let line = match given {
            Given::Line(line) => line,
            // At the prompt the editor has Ctrl-C.
            Given::Cleared => return self.stop().await.map(Some),
            Given::Refused(_) | Given::End => return Ok(None),
        };
        Ok(match typed(&line) {
            Typed::Word(id, allow) => Some(self.word(&id, allow).await),
            Typed::Stop => Some(self.stop().await?),
            Typed::Nothing => None,
            _ => Some(Ok(
                "an answer is on its way; now only /approve, /deny and /stop are understood"
                    .to_owned(),
            )),
        })
    }

    /// A call of this conversation that waits for the person's word and was not shown yet; waits for one.
    async fn question(&self, shown: &HashSet<String>) -> QuestionRow {
        let ours = format!(":{}", self.session);
        loop {
            sleep(QUESTIONS).await;
            // Whoever cannot be asked just now is asked again.
            let waiting = approvals::waiting(&self.sockets).await.unwrap_or_default();
            let mut new = waiting.into_iter().filter(|row| !shown.contains(&row.id));
            if let Some(row) = new.find(|row| row.session_key.ends_with(&ours)) {
                return row;
            }
        }
    }

    /// Ends what runs and drops what waits; what to say about it.
    async fn stop(&self) -> Result<Told, Failure> {
        let line = self.sockets.open(Server::Gateway).await?;
        let request = StopRequest {
            session: self.session.clone(),
        };
        let reply = ChatClient::new(line.edge.clone()).stop(request).await;
        Ok(match reply {
            Ok(reply) => Ok(match reply.into_inner().stopped {
                0 => "nothing was running".to_owned(),
                n => format!("stopped {n}"),
            }),
            Err(status) => Err(Failure::call("the gateway", &status)),
        })
    }

    /// Gives the person's word on a call; what to say about it.
    async fn word(&self, id: &str, allow: bool) -> Told {
        let done = approvals::answer(&self.sockets, id, allow).await;
        done.map(|row| approvals::sentence(&row, allow))
    }

    /// Says what was done, or why not; whether it was.
    fn tell(&self, told: Told, screen: &mut Terminal) -> Result<bool, Failure> {
        match told {
            Ok(text) => screen.remark(&text)?,
            Err(failure) => {
                screen.say(&failure.text(self.out.err))?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn screen(&self, form: Form) -> Terminal {
        let form = if self.out.json { Form::Json } else { form };
        let style = if form == Form::Live {
            self.out.style
        } else {
            self.out.err
        };
        Screen::new(io::stdout(), io::stderr(), style, form, self.tools)
    }

    fn request(&self, text: String) -> Result<SendRequest, Failure> {
        Ok(SendRequest {
            message_id: message_id()?,
            session: self.session.clone(),
            text,
        })
    }
}

/// A name that no other message has.
fn message_id() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::new("random", format!("no random numbers: {error}")))?;
    Ok(bytes
        .iter()
        .fold("cli-".to_owned(), |id, byte| id + &format!("{byte:02x}")))
}

fn interrupted() -> Failure {
    Failure::new("interrupted", "interrupted").exit(EXIT_INTERRUPTED)
}

fn interrupts() -> io::Result<Interrupts> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let mut pressed: Signal = signal(SignalKind::interrupt())?;
    tokio::spawn(async move { while pressed.recv().await.is_some() && sender.send(()).is_ok() {} });
    Ok(Interrupts::new(receiver))
}

/// Runs `work` until the terminal goes away or somebody ends this program.
///
/// # Errors
/// Those of `work`; exit status 128 and the signal's number when a signal came first.
pub async fn until_ended<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let number = select! {
        done = work => return done,
        _ = terminate.recv() => SignalKind::terminate(),
        _ = hangup.recv() => SignalKind::hangup(),
    };
    let exit = u8::try_from(128 + number.as_raw_value()).unwrap_or(EXIT_FAILURE);
    Err(Failure::new("signal", "ended by a signal").exit(exit))
}

#[cfg(test)]
mod tests {
    use clawdbot_identity::MessageId;

    use super::*;

    #[test]
    fn message_ids_are_valid_and_never_the_same() {
        let (one, two) = (message_id().unwrap(), message_id().unwrap());
        MessageId::parse(&one).unwrap();
        assert_ne!(one, two);
    }
}
